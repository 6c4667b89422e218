//! The root file system: a store, its database, a system profile, and what the first boot expects to find.

use super::files::{Files, Literals};
use super::forest::Packed;
use super::{Content, Error};
use crate::format::nix_db;
use crate::format::store_path::{STORE_DIR, StorePath};
use crate::tree::{Attrs, Directory, Kind, Node};

/// The group `nixbld`, which owns `/nix/store` on NixOS.
const NIXBLD: u32 = 30_000;

/// What goes into a root besides the boot loader's files.
pub struct Root<'a> {
    /// The toplevel.
    pub system: &'a StorePath,
    /// The closure, sorted by path.
    pub closure: &'a [Packed],
    /// Whether the system wants `/nix-path-registration`.
    pub wants_registration: bool,
    /// Directories that something is mounted on.
    pub mount_points: &'a [String],
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
        // Nixos-rebuild takes a root for NixOS by this file.
        files.literal("/etc/NIXOS", b"", literals)?;
        let profiles = "/nix/var/nix/profiles";
        files.symlink(&format!("{profiles}/system-1-link"), &self.system.to_string())?;
        files.symlink(&format!("{profiles}/system"), "system-1-link")?;
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
        Ok(nix_db::write(&rows, u64::from(epoch))?)
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

/// Takes the trees of the store out of a root, in the order of their paths.
pub fn store_trees(root: Node<Content>) -> Vec<Node<Content>> {
    let mut node = Some(root);
    for name in STORE_DIR.split('/').filter(|name| !name.is_empty()) {
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
