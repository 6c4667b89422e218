//! The root file system: a store, its database, a system profile, and what the first boot expects to find.

use super::files::{Files, Literals};
use crate::compose::closure::Packed;
use crate::compose::content::Content;
use crate::compose::error::Error;
use crate::format::nix::database;
use crate::format::nix::store_path::{STORE_DIR, StorePath};
use crate::tree::{Attrs, Directory, Kind, Node};

/// The group `nixbld`, which owns `/nix/store` on NixOS.
const NIXBLD: u32 = 30_000;

/// What goes into a root besides the boot loader's files.
pub struct Root<'a> {
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

impl Root<'_> {
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
            files.symlink("/sbin/init", "/nix/var/nix/profiles/system/init")?;
        }
        // Nixos-rebuild takes a root for NixOS by this file.
        files.literal("/etc/NIXOS", b"", literals)?;
        let profiles = "/nix/var/nix/profiles";
        for (number, system) in (1..).zip(self.generations) {
            files.symlink(&format!("{profiles}/system-{number}-link"), &system.to_string())?;
        }
        files.symlink(&format!("{profiles}/system"), &format!("system-{}-link", self.generations.len()))?;
        files.symlink("/nix/var/nix/gcroots/profiles", profiles)?;
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

/// The directory `/nix/store` with every tree of the closure.
pub fn store_directory(trees: Vec<(StorePath, Node<Content>)>) -> Result<Node<Content>, Error> {
    let entries = trees.into_iter().map(|(path, tree)| (path.base_name().as_bytes().into(), tree)).collect();
    let directory = Directory::from_entries(entries)
        .map_err(|name| Error::Twice(format!("{STORE_DIR}/{}", String::from_utf8_lossy(&name))))?;
    let attrs = Attrs { mode: 0o1775, uid: 0, gid: NIXBLD, mtime: 1 };
    Ok(Node { attrs, kind: Kind::Directory(directory) })
}

/// Takes the trees of the store out of a file system, in the order of their paths; `top` is where its top is mounted.
pub fn store_trees(root: Node<Content>, top: &str) -> Vec<Node<Content>> {
    let mut node = Some(root);
    for name in STORE_DIR.trim_start_matches(top).split('/').filter(|name| !name.is_empty()) {
        node =
            entries(node).into_iter().find(|(entry, _)| **entry == *name.as_bytes()).map(|(_, child)| child);
    }
    entries(node).into_iter().map(|(_, tree)| tree).collect()
}

fn entries(node: Option<Node<Content>>) -> Vec<(Box<[u8]>, Node<Content>)> {
    match node.map(|node| node.kind) {
        Some(Kind::Directory(directory)) => directory.into_entries(),
        _ => Vec::new(),
    }
}
