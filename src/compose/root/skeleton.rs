//! The root file system: a store, its database, a system profile, and what the first boot expects to find.

use super::files::Files;
use crate::card::paths;
use crate::compose::closure::{Forest, Packed};
use crate::compose::content::Content;
use crate::compose::error::Error;
use crate::compose::literals::Literals;
use crate::format::disk::ext4::Lent;
use crate::format::nix::database;
use crate::format::nix::store_path::{STORE_DIR, StorePath};
use crate::tree::{Attrs, Directory, Kind, Node};

/// The group `nixbld`, which owns `/nix/store` on NixOS.
const NIXBLD: u32 = 30_000;

/// What goes into a root besides the boot loader's files.
pub struct Skeleton<'a> {
    /// The systems of the profile, the oldest first; the last is booted.
    pub generations: &'a [StorePath],
    /// The closure, sorted by path.
    pub closure: &'a [Packed],
    /// Whether the system wants `/nix-path-registration`.
    pub wants_registration: bool,
    /// Directories that something is mounted on.
    pub mount_points: &'a [String],
    /// Whether `/etc` is an overlay that hides what lies there.
    pub has_etc_overlay: bool,
    /// Whether the kernel starts `/sbin/init`.
    pub has_fixed_init: bool,
}

impl Skeleton<'_> {
    /// Adds everything but `/nix/store/*` and `/boot` to `files`.
    pub fn build(&self, epoch: u32, files: &mut Files, literals: &mut Literals) -> Result<(), Error> {
        for path in
            ["/boot", "/dev", "/etc/nixos", "/home", "/nix/var/nix/gcroots", "/proc", "/run", "/sys", "/var"]
        {
            files.directory(path)?;
        }
        files.directory_with("/root", 0o700, 0)?;
        files.directory_with("/tmp", 0o1777, 0)?;
        for point in self.mount_points {
            files.directory(point)?;
        }
        if self.has_etc_overlay {
            // What is written to `/etc` while the system runs goes here; `/etc` itself is hidden.
            files.literal("/.rw-etc/upper/NIXOS", b"", literals)?;
            files.directory("/.rw-etc/work")?;
        }
        if self.has_fixed_init {
            files.symlink("/sbin/init", &format!("{}/init", paths::SYSTEM_PROFILE))?;
        }
        // Nixos-rebuild takes a root for NixOS by this file.
        files.literal("/etc/NIXOS", b"", literals)?;
        for (number, system) in (1..).zip(self.generations) {
            files.symlink(&paths::generation(number), &system.to_string())?;
        }
        files.symlink(paths::SYSTEM_PROFILE, &paths::generation_name(self.generations.len()))?;
        files.symlink("/nix/var/nix/gcroots/profiles", paths::PROFILES)?;
        files.literal("/nix/var/nix/db/schema", b"10", literals)?;
        files.literal("/nix/var/nix/db/db.sqlite", &self.database(epoch)?, literals)?;
        if self.wants_registration {
            // Empty on purpose: its presence makes the system grow its root and load the registration; loading any
            // line of it would clear the signatures in the database.
            files.literal("/nix-path-registration", b"", literals)?;
        }
        Ok(())
    }

    fn database(&self, epoch: u32) -> Result<Vec<u8>, Error> {
        let rows: Vec<_> = self.closure.iter().map(|packed| packed.info.clone()).collect();
        Ok(database::write(&rows, u64::from(epoch))?)
    }
}

/// Makes `/nix/store`, empty: the trees of the closure are lent to the file system, not moved into it.
pub fn add_store_directory(files: &mut Files) -> Result<(), Error> {
    let attrs = Attrs { mode: 0o1775, uid: 0, gid: NIXBLD, mtime: 1 };
    files.put(STORE_DIR, Node { attrs, kind: Kind::Directory(Directory::default()) })
}

/// The entries of `/nix/store`: every path of the closure by its base name, in their order.
pub fn store_entries(forest: &Forest, closure: usize) -> Result<Vec<Lent<'_, Content>>, Error> {
    let sources = (0..).zip(&forest.sources[..closure]);
    let entries: Vec<Lent<'_, Content>> = sources
        .map(|(source, packed)| (packed.info.path.base_name().as_bytes(), forest.tree(source)))
        .collect();
    match entries.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        Some(pair) => Err(Error::Twice(format!("{STORE_DIR}/{}", String::from_utf8_lossy(pair[1].0)))),
        None => Ok(entries),
    }
}
