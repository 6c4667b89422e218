//! Collects what the guard judges by.

use super::policy::Facts;
use super::signatures::{Member, member};
use crate::device::error::Error;
use crate::device::file_target::look;
use crate::device::sys::linux::disks::{Device, Listing};
use crate::device::sys::linux::loops::on_file;
use crate::device::sys::linux::open::is_locked;
use crate::device::sys::linux::resolve::{Named, is_below_dev, resolve};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is going to be written.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// The length of the image, where known.
    pub need: Option<u64>,
    /// The sector size that the image is made for, where it has one.
    pub image_sector: Option<u32>,
    /// All that will be read: the image, the store.
    pub reads: &'a [PathBuf],
}

/// Looks at a target. Only reads; a disk that cannot be read has no signs of members.
pub fn gather(listing: &Listing, path: &Path, wanted: &Wanted<'_>) -> Result<Facts, Error> {
    let failed = |source| Error::Path { path: path.display().to_string(), source };
    let named = resolve(listing, path).map_err(failed)?;
    let (members, holds_source) = match &named {
        // A reader without a card is refused for that.
        Named::Disk(device) if device.size == 0 => (Vec::new(), false),
        Named::Disk(device) => {
            (members(listing, device).map_err(failed)?, holds(listing, device, wanted.reads))
        }
        Named::File { id } => (Vec::new(), wanted.reads.iter().any(|path| same_file(path, *id))),
        _ => (Vec::new(), false),
    };
    let held_by = match &named {
        Named::File { .. } => held_by(listing, path).map_err(failed)?,
        _ => None,
    };
    Ok(Facts {
        path: path.to_path_buf(),
        below_dev: is_below_dev(path),
        named,
        members,
        holds_source,
        held_by,
        need: wanted.need,
        image_sector: wanted.image_sector,
    })
}

/// What uses a file that a name leads to: a loop on it, or a program that has locked it, as a virtual machine does.
fn held_by(listing: &Listing, path: &Path) -> io::Result<Option<String>> {
    let found = std::fs::metadata(path)?;
    if let Some(name) = on_file(&listing.roots, &found) {
        return Ok(Some(format!("{name} lies on it, or may")));
    }
    Ok(is_locked(path).then(|| "another program has locked it".to_owned()))
}

fn same_file(path: &Path, id: (u64, u64)) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == id)
}

fn holds(listing: &Listing, device: &Device, reads: &[PathBuf]) -> bool {
    reads.iter().any(|path| listing.disks_of(path).iter().any(|disk| disk.number == device.number))
}

/// Signs on a disk and its partitions.
fn members(listing: &Listing, device: &Device) -> io::Result<Vec<(String, Member)>> {
    let names = std::iter::once(&device.name).chain(device.partitions.iter().map(|p| &p.name));
    let mut found = Vec::new();
    for name in names {
        let node = Path::new("/dev").join(name.replace('!', "/"));
        let sign = match look(&listing.roots, &node).and_then(|disk| member(&disk)) {
            // Who may not read it may not write it, so this is found out when it is opened.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            // Any other doubt is decided for "somebody's".
            sign => sign?,
        };
        found.extend(sign.map(|sign| (name.clone(), sign)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::sys::linux::list::list;
    use crate::device::testing::System;

    #[test]
    fn signs_on_a_partition_are_found() {
        let system = System::new();
        system.usb_stick("sdb", "8:16", 1000);
        system.partition("sdb", "sdb1", "8:17", 8, 800);
        let mut luks = vec![0; 100_000];
        luks[..6].copy_from_slice(b"LUKS\xba\xbe");
        std::fs::write(system.path().join("dev/sdb1"), luks).unwrap();
        let listing = list(&system.roots()).unwrap();
        let found = members(&listing, &listing.devices[0]).unwrap();
        assert_eq!(found, [("sdb1".to_owned(), Member::Luks)]);
    }

    #[test]
    fn a_file_that_is_its_own_source_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("card.img");
        std::fs::write(&path, "x").unwrap();
        std::fs::hard_link(&path, directory.path().join("same.img")).unwrap();
        let listing = list(&crate::device::Roots::system()).unwrap();
        let reads = [directory.path().join("same.img")];
        let wanted = Wanted { reads: &reads, ..Wanted::default() };
        assert!(gather(&listing, &path, &wanted).unwrap().holds_source);
        assert!(!gather(&listing, &path, &Wanted::default()).unwrap().holds_source);
    }
}
