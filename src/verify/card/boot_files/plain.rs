//! Boot files in the plain form of a file system: a boot loader's driver reads less than Linux does, and checks nothing.
//!
//! U-Boot's ext4 (2025.01, `fs/ext4/ext4_common.c`) takes the first entry of a name, in use or not, the type that the
//! entry says, the blocks of an extent whether or not they were ever written, and knows no meta_bg.

use crate::format::disk::ext4::read::{Ext4, Inode, Kind};
use crate::verify::card::findings::Findings;
use crate::verify::card::part::Part;
use crate::verify::card::place::{Place, System, boot_directories};
use std::collections::BTreeMap;

/// Checks the files of a place, and the directories that lead to them.
pub fn check(place: &Place<'_>, files: &BTreeMap<String, u64>, findings: &mut Findings) {
    let System::Ext4(ext4) = &place.system else { return };
    if place.root().is_none() {
        return;
    }
    for path in files.keys() {
        let Ok(inode) = ext4.lookup(path.as_bytes()) else { continue };
        if let Some(how) = odd_file(ext4, &inode) {
            findings.bad(path, how);
        }
    }
    let Ok(root) = ext4.root() else { return };
    let top = ext4.mount_point();
    directory(ext4, &format!("{top}/"), (&root, root.number), findings);
    for name in boot_directories(ext4) {
        let path = format!("{top}/{name}");
        if let Ok(inode) = ext4.lookup(path.as_bytes()) {
            below(ext4, &path, (&inode, root.number), findings);
        }
    }
}

/// Why a boot loader may read another file.
fn odd_file(ext4: &Ext4<Part<'_>>, inode: &Inode) -> Option<&'static str> {
    let contents = ext4.open_file(inode).ok()?;
    match () {
        () if contents.has_unwritten() => {
            Some("some of its blocks were never written: U-Boot reads what lies there")
        }
        () if !ext4.is_where_all_look(inode) => Some("its inode is where U-Boot does not look for it"),
        () if inode.has_attributes => {
            Some("it has extended attributes, which no builder gives to boot files")
        }
        () if inode.is_locked() => Some("it is immutable or append-only"),
        () if inode.uid != 0 || inode.mode & 0o022 != 0 => Some("not only root may write it"),
        () if inode.links != 1 => Some("it has another name, by which it may be written"),
        () => None,
    }
}

/// Checks a directory and all below it.
fn below(ext4: &Ext4<Part<'_>>, path: &str, (inode, parent): (&Inode, u32), findings: &mut Findings) {
    if inode.kind != Kind::Directory {
        return;
    }
    directory(ext4, path, (inode, parent), findings);
    let mut numbers = BTreeMap::from([(Vec::new(), inode.number)]);
    for found in ext4.walk(inode).flatten().filter(|found| found.inode.kind == Kind::Directory) {
        let above = found.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let parent = numbers.get(&found.path[..above]).copied().unwrap_or(0);
        let shown = format!("{path}/{}", String::from_utf8_lossy(&found.path));
        directory(ext4, &shown, (&found.inode, parent), findings);
        numbers.insert(found.path, found.inode.number);
    }
}

fn directory(ext4: &Ext4<Part<'_>>, path: &str, (inode, parent): (&Inode, u32), findings: &mut Findings) {
    if let Err(error) = ext4.check_boot_directory(inode, parent) {
        findings.bad(path, &error.to_string());
    }
    if inode.uid != 0 || inode.mode & 0o022 != 0 {
        findings.bad(path, "not only root may write to it");
    }
    if !ext4.is_where_all_look(inode) {
        findings.bad(path, "its inode is where U-Boot does not look for it");
    }
}
