//! What a path given as a target names.

use super::disks::{Device, Listing};
use super::mounts::is_below;
use super::roots::{DeviceNumber, Roots};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A whole disk.
    Disk(Box<Device>),
    /// A partition of a disk.
    Partition {
        /// The disk's path.
        disk: PathBuf,
    },
    /// A block device that is no disk: a device-mapper or RAID volume, a drive without a disk.
    Volume,
    /// A regular file.
    File {
        /// Its device and inode.
        id: (u64, u64),
    },
    /// Nothing yet.
    Absent,
    /// Something that no image can be written to.
    Other(&'static str),
}

/// Finds what a path names, links followed. No file is opened.
pub fn resolve(listing: &Listing, path: &Path) -> io::Result<Named> {
    // A relative path is one of this process, which is below no other root.
    let place = listing.roots.place(std::path::absolute(path)?);
    let metadata = match std::fs::metadata(&place) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link to nothing would be created where it points.
            let is_link = std::fs::symlink_metadata(&place).is_ok();
            return Ok(if is_link { Named::Other("a link to nothing") } else { Named::Absent });
        }
        Err(error) => return Err(error),
    };
    let kind = metadata.file_type();
    if kind.is_block_device() {
        return Ok(block(listing, DeviceNumber::of_stat(metadata.rdev())));
    }
    Ok(match kind {
        _ if kind.is_file() => Named::File { id: (metadata.dev(), metadata.ino()) },
        _ if kind.is_dir() => Named::Other("a directory"),
        _ if kind.is_char_device() => Named::Other("a character device"),
        _ if kind.is_fifo() => Named::Other("a pipe"),
        _ => Named::Other("a socket"),
    })
}

fn block(listing: &Listing, number: DeviceNumber) -> Named {
    if let Some(device) = listing.devices.iter().find(|device| device.number == number) {
        return Named::Disk(Box::new(device.clone()));
    }
    let on = listing.devices.iter().find(|device| is_partition(&listing.roots, device, number));
    on.map_or(Named::Volume, |device| Named::Partition { disk: device.path.clone() })
}

fn is_partition(roots: &Roots, device: &Device, number: DeviceNumber) -> bool {
    device.partitions.iter().any(|partition| {
        let dev = super::roots::attribute(&roots.block(&device.name).join(&partition.name).join("dev"));
        dev.and_then(|text| DeviceNumber::parse(&text)) == Some(number)
    })
}

/// Whether a path lies below `/dev`, where no regular file may be made: links in its directory followed.
#[must_use]
pub fn is_below_dev(path: &Path) -> bool {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = std::fs::canonicalize(parent);
    let is_dev = |path: &Path| is_below(path, "/dev") && !is_below(path, "/dev/shm");
    is_dev(path) || real.is_ok_and(|real| is_dev(&real)) || is_dev(&clean(path))
}

/// Drops `.` and `..` from an absolute path without looking at links.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(out.pop()),
            std::path::Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::sys::linux::list::list;
    use crate::device::testing::System;

    #[test]
    fn what_is_no_block_device_is_named() {
        let system = System::new();
        system.file("home/card.img", "x");
        system.link("home/dangling", "nowhere");
        let listing = list(&system.roots()).unwrap();
        let named = |path: &str| resolve(&listing, Path::new(path)).unwrap();
        assert!(matches!(named("/home/card.img"), Named::File { .. }));
        assert_eq!(named("/home"), Named::Other("a directory"));
        assert_eq!(named("/home/new.img"), Named::Absent);
        assert_eq!(named("/home/dangling"), Named::Other("a link to nothing"));
    }

    #[test]
    fn the_real_system_has_character_devices_and_paths_below_dev() {
        let listing = list(&Roots::system()).unwrap();
        assert_eq!(resolve(&listing, Path::new("/dev/null")).unwrap(), Named::Other("a character device"));
        for (path, expected) in [
            ("/dev/sdq", true),
            ("/dev/disk/by-id/none", true),
            ("/tmp/../dev/sdq", true),
            ("/proc/self/root/dev/sdq", true),
            ("/dev/shm/card.img", false),
            ("/tmp/dev/sdq", false),
            ("card.img", false),
        ] {
            assert_eq!(is_below_dev(Path::new(path)), expected, "{path}");
        }
    }
}
