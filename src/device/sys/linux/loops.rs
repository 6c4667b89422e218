//! What loop devices lie on, where nothing but a path says so.
//!
//! The kernel names the file of a loop in sysfs only by its path, with ` (deleted)` behind one that is gone, and its
//! exclusive open does not know of loops (`drivers/block/loop.c`, `loop_attr_backing_file_show`). `LOOP_GET_STATUS64`
//! would name device and inode and needs unsafe code. So a path that is there is compared by device and inode, and where
//! it is not, every disk and file that a loop of that length and offset can lie on counts as one that it lies on.

use super::roots::Roots;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes in which sysfs counts the length of a disk.
const SECTOR: u64 = 512;

/// A loop device that has a file.
#[derive(Clone, Debug)]
pub(crate) struct Loop {
    /// Its name: `loop0`.
    pub name: String,
    backing: PathBuf,
    len: u64,
    offset: u64,
    limit: u64,
}

/// Where the file of a loop is.
pub(crate) enum Backing {
    /// A block device of this number.
    Device(u64),
    /// A file of this device and inode.
    File(u64, u64),
    /// Nobody can say.
    Gone,
}

/// All loops that have a file, by name.
pub(crate) fn loops(roots: &Roots) -> Vec<Loop> {
    let Ok(entries) = std::fs::read_dir(roots.place("sys/class/block")) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut loops: Vec<Loop> =
        names.filter(|name| name.starts_with("loop")).filter_map(|name| of(roots, name)).collect();
    loops.sort_by(|a, b| a.name.cmp(&b.name));
    loops
}

/// The loop of a name; `None` for one without a file, or a partition.
pub(crate) fn of(roots: &Roots, name: String) -> Option<Loop> {
    let directory = roots.block(&name);
    let text = |file: &str| std::fs::read_to_string(directory.join(file)).ok();
    let number = |file: &str| text(file).and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    let backing = text("loop/backing_file")?;
    let backing = PathBuf::from(backing.strip_suffix('\n').unwrap_or(&backing));
    let (offset, limit) = (number("loop/offset"), number("loop/sizelimit"));
    Some(Loop { name, backing, len: number("size").saturating_mul(SECTOR), offset, limit })
}

impl Loop {
    /// What its path leads to now.
    pub fn backing(&self, roots: &Roots) -> Backing {
        let is_gone = self.backing.to_string_lossy().ends_with(" (deleted)");
        match std::fs::metadata(roots.place(&self.backing)) {
            Ok(found) if found.file_type().is_block_device() => Backing::Device(found.rdev()),
            Ok(found) if found.is_file() && !is_gone => Backing::File(found.dev(), found.ino()),
            _ => Backing::Gone,
        }
    }

    /// Whether it may lie on something of a length.
    pub fn fits(&self, len: u64) -> bool {
        let end = self.offset.saturating_add(self.len);
        if self.limit > 0 { end <= len } else { end == len / SECTOR * SECTOR }
    }

    /// The path of its file, as the kernel says it.
    pub fn path(&self) -> &Path {
        &self.backing
    }
}

/// The loop that lies on a file, or that may.
pub(crate) fn on_file(roots: &Roots, file: &Metadata) -> Option<String> {
    let lies = |one: &Loop| match one.backing(roots) {
        Backing::File(device, inode) => (device, inode) == (file.dev(), file.ino()),
        Backing::Device(_) => false,
        Backing::Gone => one.fits(file.len()),
    };
    loops(roots).into_iter().find(lies).map(|one| one.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::System;

    #[test]
    fn a_file_behind_a_loop_is_known_by_its_inode_and_a_lost_one_by_its_length() {
        let system = System::new();
        let file = system.path().join("home-card.img");
        std::fs::write(&file, vec![0; 8192]).unwrap();
        std::fs::hard_link(&file, system.path().join("other-name.img")).unwrap();
        let set = |backing: &str, size: &str| {
            system.file("sys/class/block/loop3/loop/backing_file", &format!("{backing}\n"));
            system.file("sys/class/block/loop3/size", size);
            system.file("sys/class/block/loop3/loop/offset", "0");
            system.file("sys/class/block/loop3/loop/sizelimit", "0");
        };
        let found = || on_file(&system.roots(), &std::fs::metadata(&file).unwrap());
        assert_eq!(found(), None);
        for (backing, size, expected) in [
            ("/home-card.img", "16", true),
            ("/other-name.img", "16", true),
            ("/elsewhere.img (deleted)", "16", true),
            ("/elsewhere.img (deleted)", "24", false),
            ("/nowhere.img", "16", true),
            ("/sys/class/block/loop3/size", "16", false),
        ] {
            set(backing, size);
            assert_eq!(found().is_some(), expected, "{backing} {size}");
        }
    }
}
