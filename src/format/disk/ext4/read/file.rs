//! The contents of files.

use super::error::Error;
use super::extents::{self, Run};
use super::file_system::Ext4;
use super::inode::{Inode, Kind};
use crate::ints;
use crate::stream::ReadAt;
use std::io::{self, Read};

/// Bytes read at a time.
const CHUNK: u64 = 256 << 10;
/// The longest target of a symlink that Linux follows.
const MAX_TARGET: u64 = 4095;
/// Blocks of the longest file: logical block numbers have 32 bits.
const MAX_BLOCKS: u64 = 1 << 32;

/// The contents of one file, from its first byte to its last. Holes are zeros.
pub struct Contents<'a, R> {
    fs: &'a Ext4<R>,
    size: u64,
    position: u64,
    runs: Vec<Run>,
}

impl<R: ReadAt> Ext4<R> {
    /// Opens the contents of a regular file.
    pub fn open_file(&self, inode: &Inode) -> Result<Contents<'_, R>, Error> {
        match inode.kind {
            Kind::File => self.contents(inode),
            _ => Err(Error::Kind { path: format!("inode {}", inode.number), expected: "regular file" }),
        }
    }

    /// The target of a symlink.
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        let damaged = |what: String| Error::Damaged(format!("inode {} {what}", inode.number));
        if inode.kind != Kind::Symlink {
            return Err(Error::Kind { path: format!("inode {}", inode.number), expected: "symlink" });
        }
        if !(1..=MAX_TARGET).contains(&inode.size) {
            return Err(damaged(format!(
                "is a symlink whose target has {} bytes, expected 1 to {MAX_TARGET}",
                inode.size
            )));
        }
        if inode.is_fast_symlink() == inode.has_blocks {
            return Err(damaged("is a symlink that says where its target is in two ways".to_owned()));
        }
        let target = if inode.is_fast_symlink() {
            inode.block[..ints::to_usize(inode.size)].to_vec()
        } else {
            self.read_inode(inode, MAX_TARGET)?
        };
        if target.contains(&0) {
            return Err(damaged("is a symlink whose target holds a NUL".to_owned()));
        }
        Ok(target)
    }

    /// The contents of an inode; at most `limit` bytes.
    pub fn read_inode(&self, inode: &Inode, limit: u64) -> Result<Vec<u8>, Error> {
        if inode.size > limit {
            return Err(Error::TooLong { path: format!("inode {}", inode.number), len: inode.size, limit });
        }
        let mut bytes = Vec::new();
        let mut contents = self.contents(inode)?;
        while let Some(chunk) = contents.next_chunk()? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Opens what the blocks of an inode hold.
    pub(crate) fn contents(&self, inode: &Inode) -> Result<Contents<'_, R>, Error> {
        inode.check_readable()?;
        if inode.kind == Kind::Other || inode.is_fast_symlink() {
            return Err(Error::Kind { path: format!("inode {}", inode.number), expected: "regular file" });
        }
        if inode.size > MAX_BLOCKS * self.superblock.block_size {
            return Err(Error::Damaged(format!(
                "inode {} has {} bytes, more than ext4 can map",
                inode.number, inode.size
            )));
        }
        Ok(Contents { fs: self, size: inode.size, position: 0, runs: extents::runs(self, inode)? })
    }
}

impl<R: ReadAt> Contents<'_, R> {
    /// The length of the file in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.size
    }

    /// Whether the file has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// The next bytes; `None` at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.next_of(CHUNK)
    }

    /// Fills `out` with the next bytes and says how many there were; 0 at the end.
    pub fn read_into(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        let (len, from) = self.piece();
        let len = ints::to_usize(len.min(ints::to_u64(out.len())));
        self.fill(from, &mut out[..len])?;
        Ok(len)
    }

    /// Where the contents are on the device, in blocks: the first block of each run and how many; holes are left out.
    pub fn places(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().map(|run| (run.start, run.len))
    }

    /// Whether some blocks were allocated and never written: Linux reads zeros, U-Boot what lies there.
    #[must_use]
    pub fn has_unwritten(&self) -> bool {
        self.runs.iter().any(|run| run.unwritten)
    }

    /// A block of the file, and which block of the device it is; `None` for a hole.
    pub(crate) fn block_at(&mut self, block: u64) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let unit = self.fs.superblock.block_size;
        self.position = (block * unit).min(self.size);
        let (len, from) = self.piece();
        let Some(from) = from.filter(|_| len >= unit) else { return Ok(None) };
        let mut bytes = vec![0; ints::to_usize(unit)];
        self.fs.read(from, &mut bytes)?;
        Ok(Some((from / unit, bytes)))
    }

    /// The next block, for directories, which have whole ones only.
    pub(crate) fn next_block(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.next_of(self.fs.superblock.block_size)
    }

    fn next_of(&mut self, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let (len, from) = self.piece();
        if len == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; ints::to_usize(len.min(most))];
        self.fill(from, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// How many bytes follow that are in one place, and in which; none for a hole.
    fn piece(&self) -> (u64, Option<u64>) {
        let left = self.size - self.position;
        let unit = self.fs.superblock.block_size;
        let (block, within) = (self.position / unit, self.position % unit);
        let after = self.runs.partition_point(|run| run.logical + run.len <= block);
        let (blocks, from) = match self.runs.get(after) {
            Some(run) if run.logical <= block => {
                let from = (run.start + block - run.logical) * unit + within;
                (run.logical + run.len - block, (!run.unwritten).then_some(from))
            }
            Some(run) => (run.logical - block, None),
            None => return (left, None),
        };
        (left.min(blocks * unit - within), from)
    }

    fn fill(&mut self, from: Option<u64>, out: &mut [u8]) -> Result<(), Error> {
        match from {
            Some(from) => self.fs.read(from, out)?,
            None => out.fill(0),
        }
        self.position += ints::to_u64(out.len());
        Ok(())
    }
}

impl<R: ReadAt> Read for Contents<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.read_into(out).map_err(|error| match error {
            Error::Io { source, .. } => source,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })
    }
}
