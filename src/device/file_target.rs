//! Regular files as targets of a write, and disks and files that are only looked at.

use super::disk::{Disk, Medium};
use super::sys::linux::open::{Access, Changed, OpenDisk, OpenError, lock, opening};
use super::sys::linux::roots::Roots;
use crate::ints;
use crate::stream::ReadAt;
use nix::errno::Errno;
use nix::fcntl::{Flock, OFlag};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

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
    /// Empty it if it is the one of this device and inode: the one that was asked about.
    OverwriteThis(u64, u64),
}

/// Opens a regular file as a target, or makes it.
pub fn open_file(path: &Path, existing: Existing) -> Result<OpenFile, OpenError> {
    let name = path.display().to_string();
    if super::sys::linux::resolve::is_below_dev(path) {
        return Err(opening(&name, io::Error::new(io::ErrorKind::NotFound, "no file is made below /dev")));
    }
    let open = |direct: bool| {
        let direct = if direct { OFlag::O_DIRECT } else { OFlag::empty() };
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags((OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | direct).bits());
        match existing {
            Existing::Refuse => options.create_new(true),
            Existing::Overwrite | Existing::OverwriteThis(..) => &mut options,
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
    let metadata = file.metadata().map_err(|e| opening(&name, e))?;
    let is_it = match existing {
        Existing::OverwriteThis(device, inode) => (metadata.dev(), metadata.ino()) == (device, inode),
        Existing::Refuse | Existing::Overwrite => true,
    };
    if !metadata.is_file() || !is_it {
        return Err(OpenError::Changed { path: name, changed: Changed::File });
    }
    // A loop may have been laid on it since.
    if super::sys::linux::loops::on_file(&Roots::system(), &metadata).is_some() {
        return Err(OpenError::Busy(name));
    }
    let file = lock(file, &name, Access::Write)?;
    file.set_len(0).map_err(|e| opening(&name, e))?;
    Ok(OpenFile { file, name, direct })
}

/// Opens a regular file that is there, to change parts of it.
pub fn open_file_in_place(path: &Path, existing: Existing) -> Result<OpenDisk, OpenError> {
    let name = path.display().to_string();
    let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path);
    let file = file.map_err(|error| opening(&name, error))?;
    let metadata = file.metadata().map_err(|error| opening(&name, error))?;
    let is_it = match existing {
        Existing::OverwriteThis(device, inode) => (metadata.dev(), metadata.ino()) == (device, inode),
        Existing::Refuse | Existing::Overwrite => true,
    };
    if !metadata.is_file() || !is_it {
        return Err(OpenError::Changed { path: name, changed: Changed::File });
    }
    if super::sys::linux::loops::on_file(&Roots::system(), &metadata).is_some() {
        return Err(OpenError::Busy(name));
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
        if offset.checked_add(ints::to_u64(buf.len())).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        FileExt::read_exact_at(&self.file, buf, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

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
