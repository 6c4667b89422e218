//! Outputs that appear only when they are complete: written under a temporary name, synced, renamed.

use crate::ints;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Whether an output may take the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// A file that is there stays.
    Refuse,
    /// A file that is there is replaced.
    Replace,
}

/// An output cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is there.
    #[error("{0} exists")]
    Exists(String),
    /// What is there is not a file that could be replaced.
    #[error("{path} is {what}, expected a file or nothing")]
    Kind {
        /// The file that was to be written.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// The file system refuses.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file that was to be written.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
}

/// A file under a temporary name; dropped without [`Pending::commit`], it goes away.
#[derive(Debug)]
pub struct Pending {
    temporary: tempfile::NamedTempFile,
    target: PathBuf,
    overwrite: Overwrite,
}

impl Pending {
    /// Begins an output in the directory of its final name.
    pub fn create(target: &Path, overwrite: Overwrite) -> Result<Self, Error> {
        check(target, overwrite)?;
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = target.file_name().map(|name| format!(".{}.", name.to_string_lossy())).unwrap_or_default();
        let temporary = tempfile::Builder::new()
            .prefix(&name)
            .suffix(".part")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(directory)
            .map_err(|source| Error::Io { path: target.display().to_string(), source })?;
        Ok(Self { temporary, target: target.to_owned(), overwrite })
    }

    /// The file, to write to.
    #[must_use]
    pub fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// A second handle of the file.
    pub fn handle(&self) -> Result<File, Error> {
        self.file().try_clone().map_err(|source| self.io(source))
    }

    /// Makes the output durable and gives it its name.
    pub fn commit(self) -> Result<(), Error> {
        self.file().sync_all().map_err(|source| self.io(source))?;
        check(&self.target, self.overwrite)?;
        let path = self.target.display().to_string();
        let renamed = match self.overwrite {
            Overwrite::Replace => self.temporary.persist(&self.target),
            Overwrite::Refuse => self.temporary.persist_noclobber(&self.target),
        };
        renamed.map_err(|error| Error::Io { path: path.clone(), source: error.error })?;
        let directory =
            self.target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| Error::Io { path, source })
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Io { path: self.target.display().to_string(), source }
    }
}

/// Whether an output can take that name; looked at again when it does.
pub fn check(target: &Path, overwrite: Overwrite) -> Result<(), Error> {
    let path = target.display().to_string();
    let kind = match target.symlink_metadata() {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return refuse_devices(target, path),
        Err(source) => return Err(Error::Io { path, source }),
    };
    let what = match kind {
        kind if kind.is_file() && overwrite == Overwrite::Refuse => return Err(Error::Exists(path)),
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_symlink() => "a symlink",
        kind if kind.is_block_device() => "a device; compose into a file, then write it",
        _ => "no regular file",
    };
    Err(Error::Kind { path, what })
}

/// A mistyped device must not become a file in memory.
fn refuse_devices(target: &Path, path: String) -> Result<(), Error> {
    let parent = target.parent().and_then(|parent| parent.canonicalize().ok());
    match parent {
        Some(parent) if parent.starts_with("/dev") && !parent.starts_with("/dev/shm") => {
            Err(Error::Kind { path, what: "a name below /dev that does not exist" })
        }
        _ => Ok(()),
    }
}

/// Where the bytes of a disk are in a file that is no disk itself.
pub trait Places: Send + Sync {
    /// Gives the file its length, and writes all that is in it besides the disk.
    fn begin(&self, file: &File) -> io::Result<()>;

    /// Where in the file a byte of the disk is, if there is a place for it; and how many bytes from it on the answer holds.
    fn place(&self, offset: u64) -> (Option<u64>, u64);
}

/// A file with a disk that several threads may write at once; what is not written reads as zeros.
pub struct RawFile {
    file: File,
    /// The disk begins and ends with the file where there are none.
    places: Option<Box<dyn Places>>,
}

impl RawFile {
    /// Writes to an output that is empty so far.
    pub fn new(pending: &Pending) -> Result<Self, Error> {
        Ok(Self { file: pending.handle()?, places: None })
    }

    /// The same, for a disk in a container.
    pub fn inside(pending: &Pending, places: Box<dyn Places>) -> Result<Self, Error> {
        Ok(Self { file: pending.handle()?, places: Some(places) })
    }

    /// Gives the disk a length.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.places {
            Some(places) => places.begin(&self.file),
            None => self.file.set_len(len),
        }
    }

    /// Takes away all that was written.
    pub fn empty(&self) -> io::Result<()> {
        self.file.set_len(0)
    }

    /// Writes all of `bytes` at `offset` of the disk.
    pub fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        let Some(places) = &self.places else { return self.file.write_all_at(bytes, offset) };
        while !bytes.is_empty() {
            let (place, run) = places.place(offset);
            let (now, rest) = bytes.split_at(bytes.len().min(usize::try_from(run).unwrap_or(usize::MAX)));
            match place {
                Some(place) => self.file.write_all_at(now, place)?,
                None if now.iter().all(|byte| *byte == 0) => {}
                None => {
                    let what = format!("there are data at byte {offset}, where the plan has none");
                    return Err(io::Error::other(what));
                }
            }
            (offset, bytes) = (offset + ints::to_u64(now.len()), rest);
        }
        Ok(())
    }
}

/// Writes a small file beside an output, with the same care.
pub fn write_small(target: &Path, bytes: impl AsRef<[u8]>, overwrite: Overwrite) -> Result<(), Error> {
    let pending = Pending::create(target, overwrite)?;
    pending.file().write_all(bytes.as_ref()).map_err(|source| pending.io(source))?;
    pending.commit()
}

/// Opens an image to read, following symlinks, never blocking on a FIFO.
pub fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)
}

/// Files are read at offsets.
impl crate::stream::ReadAt for File {
    fn size(&self) -> u64 {
        // A device has no length in its metadata; the end can be sought.
        use std::io::{Seek, SeekFrom};
        match self.metadata() {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => (&*self).seek(SeekFrom::End(0)).unwrap_or(0),
        }
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        debug_assert!(offset.checked_add(ints::to_u64(buf.len())).is_some());
        FileExt::read_exact_at(self, buf, offset)
    }
}
