//! A volume that passed the check, and its files.

use super::boot::{self, Boot};
use super::cache::{Cached, Disk};
use super::check::{self, FileRef};
use super::error::Error;
use super::free_runs::Run;
use super::long_name;
use crate::format::disk::fat::ondisk::boot_sector::FatType;
use crate::format::disk::fat::ondisk::case::fold;
use crate::ints;
use crate::stream::ReadAt;
use crate::tree::{Kind, Node};
use std::io::{self, Read};

/// A volume that passed the check.
pub struct Volume<R: ReadAt> {
    fs: fatfs::FileSystem<Disk<R>>,
    boot: Boot,
    label: String,
    free_clusters: u64,
    runs: Vec<Run>,
    root: Node<FileRef>,
}

/// Checks a volume and opens it.
pub fn open<R: ReadAt>(volume: R) -> Result<Volume<R>, Error> {
    let boot = boot::read(&volume)?;
    let mut cached = Cached::new(volume);
    let found = check::check(&mut cached, &boot)?;
    let options = fatfs::FsOptions::new().oem_cp_converter(&long_name::CODE_PAGE);
    let reader = |source| Error::Reader { path: String::new(), source };
    let fs = fatfs::FileSystem::new(Disk::new(cached), options).map_err(reader)?;
    let label = found.label.unwrap_or_else(|| boot.label.clone());
    Ok(Volume { fs, boot, label, free_clusters: found.free_clusters, runs: found.runs, root: found.root })
}

impl<R: ReadAt> Volume<R> {
    /// The label: that of the root, or of the boot sector; empty for none.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The volume id.
    #[must_use]
    pub const fn volume_id(&self) -> u32 {
        self.boot.volume_id
    }

    /// FAT16 or FAT32: the number of clusters decides.
    #[must_use]
    pub const fn kind(&self) -> FatType {
        self.boot.fat_type
    }

    /// The length by the boot sector, in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.boot.sectors * self.boot.sector_bytes
    }

    /// Bytes of a cluster.
    #[must_use]
    pub const fn cluster_bytes(&self) -> u64 {
        self.boot.cluster_bytes()
    }

    /// Bytes in clusters that nothing uses, counted in the FAT.
    #[must_use]
    pub const fn free_bytes(&self) -> u64 {
        self.free_clusters * self.boot.cluster_bytes()
    }

    /// Free clusters in a row, of at least 1 MiB: where they begin in the volume and their length, in bytes. Of very
    /// many only the last ones.
    pub fn free_runs(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> {
        let bytes = self.boot.cluster_bytes();
        self.runs.iter().map(move |(first, count)| {
            // cannot fail: clusters are below 2^28
            (self.boot.cluster_offset(u32::try_from(*first).unwrap_or(0)), count * bytes)
        })
    }

    /// Everything that is on it. FAT has no owners and modes: all are 0:0 and 0755.
    #[must_use]
    pub const fn list(&self) -> &Node<FileRef> {
        &self.root
    }

    /// Opens a file by its path from the root, in any case: `overlays/README`.
    pub fn open_file(&self, path: &str) -> Result<File<'_, R>, Error> {
        let no_file = || Error::NoFile { path: path.to_owned() };
        let len = self.len_of(path).ok_or_else(no_file)?;
        let reader = |source| Error::Reader { path: path.to_owned(), source };
        let inner = self.fs.root_dir().open_file(path).map_err(reader)?;
        Ok(File { inner, left: len })
    }

    /// Reads a file that is at most `limit` bytes long.
    pub fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let mut file = self.open_file(path)?;
        let len = file.len();
        if len > limit {
            return Err(Error::TooLong { path: path.to_owned(), len, limit });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| Error::Reader { path: path.to_owned(), source })?;
        Ok(bytes)
    }

    /// The length of a file, found in the checked tree so that `fatfs` is never asked for `..` or for what is not there.
    fn len_of(&self, path: &str) -> Option<u64> {
        let mut node = &self.root;
        for wanted in path.split('/') {
            let Kind::Directory(directory) = &node.kind else { return None };
            let wanted = fold(wanted);
            let same = |name: &[u8]| std::str::from_utf8(name).is_ok_and(|name| fold(name) == wanted);
            node = directory.iter().find(|(name, _)| same(name)).map(|(_, node)| node)?;
        }
        if let Kind::File { len, .. } = node.kind { Some(len) } else { None }
    }
}

/// A file of a volume, read from its start.
pub struct File<'a, R: ReadAt> {
    inner: fatfs::File<'a, Disk<R>>,
    left: u64,
}

impl<R: ReadAt> File<'_, R> {
    /// How many bytes have not been read yet.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.left
    }

    /// Whether all was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<R: ReadAt> Read for File<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(ints::to_usize(self.left));
        let done = self.inner.read(&mut buf[..most])?;
        if done == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= ints::to_u64(done);
        Ok(done)
    }
}
