//! Opening disks and files to write: exclusively, past the cache, and only what was confirmed.
//!
//! No ioctl is made, since each would need unsafe code: the length is where a seek to the end arrives; sector size,
//! read-only flag and `diskseq` come from sysfs. `BLKRRPART` is not needed: when the last writer closes a disk, udev
//! has the kernel read its table again, and until then the lock keeps udev away (systemd.io/BLOCK_DEVICE_LOCKING).

use super::disk::{Disk, Medium};
use super::list::{Device, Listing, list};
use super::roots::{DeviceNumber, Roots};
use crate::num;
use crate::stream::ReadAt;
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
    file: Flock<File>,
    name: String,
    len: u64,
    direct: bool,
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
    let name = confirmed.path.display().to_string();
    let (file, direct) = match open_node(&roots.place(&confirmed.path), access) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && roots.root() == Path::new("/") => {
            // Root is never denied for a reason that UDisks2 could lift, so this is an ordinary user's bus.
            let opened = super::udisks::open(&confirmed.path, access == Access::Write);
            (opened.map_err(|udisks| OpenError::Permission { path: name.clone(), udisks })?, true)
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

fn lock(file: File, name: &str, access: Access) -> Result<Flock<File>, OpenError> {
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

fn opening(name: &str, source: io::Error) -> OpenError {
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

/// A regular file that is written like a disk: only what is not zero.
pub struct OpenFile {
    file: Flock<File>,
    name: String,
    direct: bool,
}

/// What to do when a file is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse it.
    Refuse,
    /// Empty it.
    Overwrite,
}

/// Opens a regular file as a target, or makes it.
pub fn open_file(path: &Path, existing: Existing) -> Result<OpenFile, OpenError> {
    let name = path.display().to_string();
    if super::resolve::is_below_dev(path) {
        return Err(opening(&name, io::Error::new(io::ErrorKind::NotFound, "no file is made below /dev")));
    }
    let open = |direct: bool| {
        let direct = if direct { OFlag::O_DIRECT } else { OFlag::empty() };
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags((OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | direct).bits());
        match existing {
            Existing::Refuse => options.create_new(true),
            Existing::Overwrite => &mut options,
        };
        options.open(path)
    };
    let (file, direct) = match open(true) {
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
            // The file may have been made before direct I/O was refused.
            let made =
                existing == Existing::Refuse && std::fs::symlink_metadata(path).is_ok_and(|m| m.is_file());
            if made {
                std::fs::remove_file(path).map_err(|e| opening(&name, e))?;
            }
            (open(false), false)
        }
        result => (result, true),
    };
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => OpenError::Exists(name.clone()),
        _ => opening(&name, error),
    })?;
    if !file.metadata().map_err(|e| opening(&name, e))?.is_file() {
        return Err(OpenError::Changed { path: name, changed: Changed::Node });
    }
    let file = lock(file, &name, Access::Write)?;
    file.set_len(0).map_err(|e| opening(&name, e))?;
    Ok(OpenFile { file, name, direct })
}

/// Opens a regular file that is there, to change parts of it.
pub fn open_file_in_place(path: &Path) -> Result<OpenDisk, OpenError> {
    let name = path.display().to_string();
    let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path);
    let file = file.map_err(|error| opening(&name, error))?;
    if !file.metadata().map_err(|error| opening(&name, error))?.is_file() {
        return Err(OpenError::Changed { path: name, changed: Changed::Node });
    }
    let mut file = lock(file, &name, Access::Write)?;
    let len = file.seek(SeekFrom::End(0)).map_err(|error| opening(&name, error))?;
    Ok(OpenDisk { file, name, len, direct: false })
}

impl Disk for OpenFile {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> u64 {
        // The longest that a file can be.
        i64::MAX.unsigned_abs()
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

    fn medium(&self) -> Medium {
        Medium::File
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

/// Opens a regular file to compare it, past the cache where its file system allows that.
pub fn open_to_read(path: &Path) -> Result<ReadFile, OpenError> {
    let name = path.display().to_string();
    let open = |direct: OFlag| {
        let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | direct;
        OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
    };
    // A last page that is not whole can be read directly too; what is refused is refused at the open.
    let (file, direct) = match open(OFlag::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => (open(OFlag::empty()), false),
        result => (result, true),
    };
    let mut file = file.map_err(|error| opening(&name, error))?;
    let len = file.seek(SeekFrom::End(0)).map_err(|error| opening(&name, error))?;
    Ok(ReadFile { file, name, len, direct })
}

/// A regular file that is only compared.
pub struct ReadFile {
    file: File,
    name: String,
    len: u64,
    direct: bool,
}

impl Disk for ReadFile {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if !self.direct || buf.len().is_multiple_of(super::disk::ALIGN) {
            return self.file.read_at(buf, offset);
        }
        // The end of a file that is no multiple of a page: direct I/O takes whole pages only.
        let mut whole = super::buffer::Buffer::new(buf.len().next_multiple_of(super::disk::ALIGN));
        let read = self.file.read_at(&mut whole, offset)?.min(buf.len());
        buf[..read].copy_from_slice(&whole[..read]);
        Ok(read)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn bypasses_cache(&self) -> bool {
        self.direct
    }
}

/// A disk, partition or file that is only looked at, by way of the cache.
pub struct Look {
    file: File,
    len: u64,
}

/// Opens a node or file to look at it.
pub fn look(roots: &Roots, path: &Path) -> io::Result<Look> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).bits())
        .open(roots.place(path))?;
    let len = file.seek(SeekFrom::End(0))?;
    Ok(Look { file, len })
}

impl ReadAt for Look {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(num::to_u64(buf.len())).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        FileExt::read_exact_at(&self.file, buf, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::System;
    use super::*;
    use std::os::unix::fs::MetadataExt;

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

    #[test]
    fn files_are_made_sparse_and_never_below_dev() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("card.img");
        let file = open_file(&path, Existing::Refuse).unwrap();
        file.set_len(1 << 30).unwrap();
        drop(file);
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.blocks()), (1 << 30, 0));
        assert!(matches!(open_file(&path, Existing::Refuse), Err(OpenError::Exists(_))));
        drop(open_file(&path, Existing::Overwrite).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        let typo = Path::new("/dev/nixflash-no-such-disk");
        for existing in [Existing::Refuse, Existing::Overwrite] {
            assert!(open_file(typo, existing).is_err());
            assert!(!typo.exists());
        }
    }

    #[test]
    fn two_writers_of_a_file_do_not_meet() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("card.img");
        let first = open_file(&path, Existing::Refuse).unwrap();
        assert!(matches!(open_file(&path, Existing::Overwrite), Err(OpenError::Locked(_))));
        drop(first);
        drop(open_file(&path, Existing::Overwrite).unwrap());
    }
}
