//! Opening disks to write: exclusively, past the cache, and only what was confirmed.
//!
//! No ioctl is made, since each would need unsafe code: the length is where a seek to the end arrives; sector size,
//! read-only flag and `diskseq` come from sysfs. `BLKRRPART` is not needed: when the last writer closes a disk, udev
//! has the kernel read its table again, and until then the lock keeps udev away (systemd.io/BLOCK_DEVICE_LOCKING).

use super::disks::{Device, Listing};
use super::list::list;
use super::roots::{DeviceNumber, Roots};
use crate::device::disk::Disk;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// A target cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system denies access, and so does UDisks2, or it is not there.
    #[error("no permission to open {path} ({udisks})")]
    Permission {
        /// The target.
        path: String,
        /// What UDisks2 says.
        udisks: String,
    },
    /// Somebody uses it: it is mounted, a part of a volume, or another program writes to it.
    #[error("{0} is in use by another program or by the system")]
    Busy(String),
    /// Somebody holds the lock on it.
    #[error("{0} is locked by another program, maybe another nixflash")]
    Locked(String),
    /// It is not what was confirmed.
    #[error("{path} is not the disk that was confirmed: {changed}")]
    Changed {
        /// The target.
        path: String,
        /// What has changed.
        changed: Changed,
    },
    /// It became read-only.
    #[error("{0} is read-only")]
    ReadOnly(String),
    /// A file is there that nobody agreed to overwrite.
    #[error("{0} exists already")]
    Exists(String),
    /// It cannot be opened for another reason.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The target.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// What has changed between the confirmation and the open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The node is no block device, or one of another number.
    Node,
    /// The name leads to another file.
    File,
    /// It is not listed any more.
    Gone,
    /// Its length.
    Size {
        /// Confirmed.
        expected: u64,
        /// Now.
        found: u64,
    },
    /// Its model or serial number.
    Identity,
    /// The card was taken out, or another one was put in.
    Medium,
    /// It is used now.
    InUse,
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File => f.write_str("the name leads to something else now"),
            Self::Node => f.write_str("its node is another device"),
            Self::Gone => f.write_str("it is gone"),
            Self::Size { expected, found } => write!(f, "it had {expected} bytes, it has {found}"),
            Self::Identity => f.write_str("it has another model or serial number"),
            Self::Medium => f.write_str("the card was taken out or exchanged"),
            Self::InUse => f.write_str("it is in use now"),
        }
    }
}

/// How often a lock is tried: udev holds one for a moment when a card is put in.
const LOCK_TRIES: u32 = 30;
const LOCK_WAIT: Duration = Duration::from_millis(100);

/// A disk that is open.
pub struct OpenDisk {
    pub(crate) file: Flock<File>,
    pub(crate) name: String,
    pub(crate) len: u64,
    pub(crate) direct: bool,
}

/// What an open disk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To write: exclusively.
    Write,
    /// To compare: others may read too, and a mounted disk may be read.
    Read,
}

/// Opens a disk that was confirmed, and makes sure that it is that disk.
pub fn open_disk(roots: &Roots, confirmed: &Device, access: Access) -> Result<OpenDisk, OpenError> {
    open_disk_unless(roots, confirmed, access, &|| false)
}

/// The same; where a desktop is asked for it, the wait ends when told to stop.
pub fn open_disk_unless(
    roots: &Roots,
    confirmed: &Device,
    access: Access,
    is_stopped: &dyn Fn() -> bool,
) -> Result<OpenDisk, OpenError> {
    let name = confirmed.path.display().to_string();
    let (file, direct) = match open_node(&roots.place(&confirmed.path), access) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && roots.root() == Path::new("/") => {
            // Root is never denied for a reason that UDisks2 could lift, so this is an ordinary user's bus.
            let opened = super::udisks::open(&confirmed.path, access == Access::Write, is_stopped);
            opened.map_err(|udisks| OpenError::Permission { path: name.clone(), udisks })?
        }
        result => result.map_err(|e| opening(&name, e))?,
    };
    let mut file = lock(file, &name, access)?;
    let metadata = file.metadata().map_err(|e| opening(&name, e))?;
    let len = file.seek(SeekFrom::End(0)).map_err(|e| opening(&name, e))?;
    let now = list(roots).map_err(|e| opening(&name, io::Error::other(e)))?;
    if let Some(changed) = changed(confirmed, &metadata, len, &now, access) {
        return Err(OpenError::Changed { path: name, changed });
    }
    Ok(OpenDisk { file, name, len, direct })
}

fn open_node(path: &Path, access: Access) -> io::Result<(File, bool)> {
    let flags = match access {
        Access::Write => OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
        Access::Read => OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
    };
    let open = |flags: OFlag| {
        let write = access == Access::Write;
        // Never creates: a node that has gone must not become a file.
        OpenOptions::new().read(true).write(write).custom_flags(flags.bits()).open(path)
    };
    match open(flags | OFlag::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok((open(flags)?, false)),
        result => Ok((result?, true)),
    }
}

/// Whether another program holds a lock of a kind that belongs to an open file, as QEMU does for the disks of its machines.
pub(crate) fn is_locked(path: &Path) -> bool {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let Ok(file) = opened else { return false };
    let mut wanted = nix::libc::flock { l_type: WRITE_LOCK, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    let asked = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_OFD_GETLK(&mut wanted));
    asked.is_ok() && wanted.l_type != NO_LOCK
}

/// Kinds of locks, as `fcntl` has them.
const WRITE_LOCK: nix::libc::c_short = 1;
const NO_LOCK: nix::libc::c_short = 2;

pub(crate) fn lock(file: File, name: &str, access: Access) -> Result<Flock<File>, OpenError> {
    let kind = match access {
        Access::Write => FlockArg::LockExclusiveNonblock,
        Access::Read => FlockArg::LockSharedNonblock,
    };
    let mut file = file;
    for _ in 0..LOCK_TRIES {
        match Flock::lock(file, kind) {
            Ok(locked) => return Ok(locked),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => file = back,
            Err((_, errno)) => return Err(opening(name, errno.into())),
        }
        std::thread::sleep(LOCK_WAIT);
    }
    Err(OpenError::Locked(name.to_owned()))
}

/// What is not as it was confirmed.
fn changed(
    confirmed: &Device,
    metadata: &Metadata,
    len: u64,
    now: &Listing,
    access: Access,
) -> Option<Changed> {
    let is_node =
        metadata.file_type().is_block_device() && DeviceNumber::of_stat(metadata.rdev()) == confirmed.number;
    if !is_node {
        return Some(Changed::Node);
    }
    let Some(device) = now.devices.iter().find(|device| device.number == confirmed.number) else {
        return Some(Changed::Gone);
    };
    compare(confirmed, device, len, access)
}

fn compare(confirmed: &Device, now: &Device, len: u64, access: Access) -> Option<Changed> {
    if now.diskseq != confirmed.diskseq {
        return Some(Changed::Medium);
    }
    if (&now.model, &now.serial, &now.name) != (&confirmed.model, &confirmed.serial, &confirmed.name) {
        return Some(Changed::Identity);
    }
    for found in [len, now.size] {
        if found != confirmed.size {
            return Some(Changed::Size { expected: confirmed.size, found });
        }
    }
    let is_used = access == Access::Write && !now.uses.is_empty();
    is_used.then_some(Changed::InUse)
}

pub(crate) fn opening(name: &str, source: io::Error) -> OpenError {
    let path = name.to_owned();
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES | Errno::EPERM) => {
            OpenError::Permission { path, udisks: "not asked for it".to_owned() }
        }
        Some(Errno::EBUSY) => OpenError::Busy(path),
        Some(Errno::EROFS) => OpenError::ReadOnly(path),
        Some(Errno::ENOENT) => OpenError::Changed { path, changed: Changed::Gone },
        Some(Errno::ELOOP) => OpenError::Changed { path, changed: Changed::Node },
        _ => OpenError::Io { path, source },
    }
}

impl Disk for OpenDisk {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn bypasses_cache(&self) -> bool {
        self.direct
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::System;

    fn stick(system: &System) -> Device {
        list(&system.roots()).unwrap().devices.remove(0)
    }

    #[test]
    fn only_the_disk_that_was_confirmed_is_written() {
        let system = System::new();
        system.usb_stick("sdb", "8:16", 1000);
        let confirmed = stick(&system);
        let len = confirmed.size;
        let compare = |now: &Device, len| super::compare(&confirmed, now, len, Access::Write);
        assert_eq!(compare(&stick(&system), len), None);
        assert_eq!(compare(&stick(&system), 7), Some(Changed::Size { expected: 512_000, found: 7 }));
        for (file, text, expected) in [
            ("sys/class/block/sdb/diskseq", "8", Changed::Medium),
            ("sys/devices/pci0000:00/usb1/1-1/serial", "other", Changed::Identity),
            ("sys/class/block/sdb/device/model", "Other", Changed::Identity),
            ("sys/class/block/sdb/size", "1001", Changed::Size { expected: 512_000, found: 512_512 }),
            ("proc/self/mountinfo", "22 1 8:16 / /mnt rw - ext4 /dev/sdb rw\n", Changed::InUse),
        ] {
            let before = std::fs::read_to_string(system.path().join(file)).unwrap();
            system.file(file, text);
            assert_eq!(compare(&stick(&system), len), Some(expected), "{file}");
            system.file(file, &before);
        }
    }

    #[test]
    fn a_node_that_is_a_file_or_gone_or_a_link_is_refused_and_no_file_is_made() {
        let system = System::new();
        system.usb_stick("sdb", "8:16", 1000);
        let confirmed = stick(&system);
        let refused = |system: &System| match open_disk(&system.roots(), &confirmed, Access::Write) {
            Err(OpenError::Changed { changed, .. }) => changed,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened"),
        };
        assert_eq!(refused(&system), Changed::Node);
        let node = system.path().join("dev/sdb");
        std::fs::remove_file(&node).unwrap();
        assert_eq!(refused(&system), Changed::Gone);
        assert!(!node.exists());
        system.link("dev/sdb", "sdb1");
        system.file("dev/sdb1", "");
        assert_eq!(refused(&system), Changed::Node);
    }
}
