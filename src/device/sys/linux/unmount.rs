//! Before a write: taking a card from the automounter. After it: letting go of it.

use super::disks::{Bus, Device};
use super::roots::Roots;
use nix::mount::{MntFlags, umount2};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

/// A mount cannot be undone.
#[derive(Debug, thiserror::Error)]
#[error("cannot unmount {}: {source}", .at.display())]
pub struct UnmountError {
    /// Where.
    pub at: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Unmounts all that is mounted from a disk, the newest first. Nothing is forced: what is busy stays.
pub fn unmount(device: &Device) -> Result<Vec<PathBuf>, UnmountError> {
    let mut done = Vec::new();
    let mut mounts: Vec<_> = device.mounts().map(PathBuf::from).collect();
    // The deepest first, since one may lie on another; of those on the same place, the last first.
    mounts.reverse();
    mounts.sort_by_key(|at| std::cmp::Reverse(at.components().count()));
    for at in mounts {
        if let Err(errno) = umount2(&at, MntFlags::UMOUNT_NOFOLLOW) {
            return Err(UnmountError { at, source: errno.into() });
        }
        done.push(at);
    }
    Ok(done)
}

/// Tells the system that a disk will be pulled out. `false` where nothing has to be told.
///
/// A SCSI disk, which USB sticks and readers are, is detached through sysfs: the kernel flushes its cache and drops it;
/// it comes back when it is put in again. An SD slot of the machine notices a card by itself.
pub fn eject(roots: &Roots, device: &Device) -> io::Result<bool> {
    match device.bus {
        Bus::Usb | Bus::Scsi | Bus::Ata => {
            let switch = roots.block(&device.name).join("device/delete");
            OpenOptions::new().write(true).open(switch)?.write_all(b"1\n")?;
            Ok(true)
        }
        Bus::Sd | Bus::Emmc | Bus::Nvme | Bus::Virtio | Bus::Loop | Bus::Memory | Bus::Other => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::sys::linux::list::list;
    use crate::device::testing::System;

    #[test]
    fn a_stick_is_detached_through_sysfs_and_an_sd_card_is_left_alone() {
        let system = System::new();
        system.usb_stick("sdb", "8:16", 1000);
        system.disk("mmcblk0", "179:0", 1000, "platform/mmc0/mmc0:aaaa");
        system.file("sys/class/block/mmcblk0/device/type", "SD\n");
        let devices = list(&system.roots()).unwrap().devices;
        assert!(eject(&system.roots(), &devices[0]).is_err(), "a switch that is not there is not made");
        system.file("sys/class/block/sdb/device/delete", "");
        assert!(eject(&system.roots(), &devices[0]).unwrap());
        let switch = system.path().join("sys/class/block/sdb/device/delete");
        assert_eq!(std::fs::read_to_string(switch).unwrap(), "1\n");
        assert!(!eject(&system.roots(), &devices[1]).unwrap());
    }
}
