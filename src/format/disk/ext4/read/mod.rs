//! ext4, read: bounded, checked, never trusted.
//!
//! Reads what nixflash and mke2fs make: extents and old block maps, 32- and 64-bit descriptors, flex_bg, meta_bg,
//! checksums. Every number is checked against the real size of the device before it is used; a checksum that does not
//! match is an error; what is not understood is named. Nothing is allocated in proportion to a number that was read,
//! but in proportion to what was read. A journal that needs recovery is reported: what [`Ext4::open`] gives is the state
//! before its replay, what [`Ext4::open_replayed`] gives the one after it.
//!
//! Offsets are those of kernel `fs/ext4/ext4.h` and `fs/ext4/ext4_extents.h`.

mod directory;
mod extents;
mod file;
mod form;
mod groups;
mod inode;
mod journal;
mod path;
mod superblock;
mod superblock_form;
mod walk;

pub use directory::{Entries, Entry};
pub use file::Contents;
pub use groups::Groups;
pub use inode::{Inode, Kind};
pub use journal::Replayed;
pub use superblock::Superblock;
pub use walk::{Found, Walk};

use crate::num;
use crate::stream::ReadAt;
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;

/// The root's inode.
pub const ROOT: u32 = 2;
/// The longest target of a symlink that Linux follows.
const MAX_TARGET: u64 = 4095;

/// A file system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device fails.
    #[error("cannot read at byte {offset}: {source}")]
    Io {
        /// Where in the file system.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// There is no ext2, ext3 or ext4.
    #[error("there is no ext4 file system")]
    None,
    /// It has a feature that changes the meaning of what is read.
    #[error("the ext4 feature {0} is not supported")]
    Feature(String),
    /// Something is damaged.
    #[error("ext4 is damaged: {0}")]
    Damaged(String),
    /// A checksum does not match.
    #[error("ext4 is damaged: {what} has the checksum {stored:#x}, expected {computed:#x}")]
    Checksum {
        /// What the checksum is of.
        what: String,
        /// The checksum on the medium.
        stored: u32,
        /// That of the bytes on the medium.
        computed: u32,
    },
    /// There is nothing at a path.
    #[error("{0} does not exist")]
    NotFound(String),
    /// A path leads over too many symlinks.
    #[error("{0} leads too far: over more than {max} symlinks", max = path::MAX_SYMLINKS)]
    TooFar(String),
    /// So much was read to find paths that no more are looked for.
    #[error("{0} is not looked for: {max} bytes of directories were read already", max = path::MAX_SEARCHED)]
    Exhausted(String),
    /// There is something else at a path.
    #[error("{path} is no {expected}")]
    Kind {
        /// The path.
        path: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A file is longer than the reader wants.
    #[error("{path} has {len} bytes, expected at most {limit}")]
    TooLong {
        /// The path.
        path: String,
        /// Its length.
        len: u64,
        /// The limit.
        limit: u64,
    },
}

/// A file system that can be read.
pub struct Ext4<R> {
    device: R,
    /// Its superblock.
    pub superblock: Superblock,
    /// The name below which a system has it, where another file system is its root.
    mounted_at: Option<&'static str>,
    /// Bytes that were read, and how many of them to find paths.
    read: Cell<u64>,
    searched: Cell<u64>,
    /// What the journal has newer copies of.
    replayed: Arc<Replayed>,
    /// The inode table that was looked up last: the group, its first block.
    table: Cell<Option<(u32, u64)>>,
    /// The block of inodes that was read last, and where it is.
    inodes: RefCell<(u64, Vec<u8>)>,
}

/// Reads a little-endian number of 16 bits.
fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Reads a little-endian number of 32 bits.
fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl<R: ReadAt> Ext4<R> {
    /// Reads and checks the superblock.
    pub fn open(device: R) -> Result<Self, Error> {
        let superblock = Superblock::read(&device)?;
        Ok(Self::of(device, superblock, Arc::default()))
    }

    fn of(device: R, superblock: Superblock, replayed: Arc<Replayed>) -> Self {
        Self {
            device,
            superblock,
            mounted_at: None,
            read: Cell::new(0),
            searched: Cell::new(0),
            replayed,
            table: Cell::new(None),
            inodes: RefCell::default(),
        }
    }

    /// Another reader of the same file system, for another thread.
    #[must_use]
    pub fn again(&self) -> Self
    where
        R: Clone,
    {
        let again = Self::of(self.device.clone(), self.superblock.clone(), Arc::clone(&self.replayed));
        Self { mounted_at: self.mounted_at, ..again }
    }

    /// Forgets what was kept of the device.
    fn forget(&self) {
        self.table.set(None);
        self.inodes.replace((0, Vec::new()));
    }

    /// The root directory.
    pub fn root(&self) -> Result<Inode, Error> {
        let root = self.inode(ROOT)?;
        match root.kind {
            Kind::Directory => Ok(root),
            _ => Err(Error::Damaged("its root is no directory".to_owned())),
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
            inode.block[..num::to_usize(inode.size)].to_vec()
        } else {
            self.read_inode(inode, MAX_TARGET)?
        };
        if target.contains(&0) {
            return Err(damaged("is a symlink whose target holds a NUL".to_owned()));
        }
        Ok(target)
    }

    /// The contents of a file at a path, which may lead over symlinks; at most `limit` bytes.
    pub fn read_file(&self, path: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let inode = self.resolve(path.as_bytes())?;
        if inode.kind != Kind::File {
            return Err(Error::Kind { path: path.to_owned(), expected: "regular file" });
        }
        if inode.size > limit {
            return Err(Error::TooLong { path: path.to_owned(), len: inode.size, limit });
        }
        self.read_inode(&inode, limit)
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

    /// Reads bytes that must lie inside the file system and the device.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let end = offset.checked_add(num::to_u64(out.len()));
        let limit = self.superblock.bytes();
        if end.is_none_or(|end| end > limit) {
            return Err(Error::Damaged(format!(
                "something is said to be at byte {offset}, the file system ends at {limit}"
            )));
        }
        self.read.set(self.read.get().saturating_add(num::to_u64(out.len())));
        self.read_blocks(offset, out)
    }

    /// Reads from the device, and over that from the journal.
    fn read_blocks(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.device.read_exact_at(out, offset).map_err(|source| Error::Io { offset, source })?;
        let unit = self.superblock.block_size;
        let end = offset + num::to_u64(out.len());
        let mut from = offset / unit;
        while let Some((block, at, escaped)) = self.replayed.next(from, end.div_ceil(unit)) {
            let mut copy = vec![0; num::to_usize(unit)];
            let place = at.saturating_mul(unit);
            self.device
                .read_exact_at(&mut copy, place)
                .map_err(|source| Error::Io { offset: place, source })?;
            if escaped {
                copy[..4].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98]);
            }
            let (low, high) = ((block * unit).max(offset), ((block + 1) * unit).min(end));
            let range = num::to_usize(low - offset)..num::to_usize(high - offset);
            out[range].copy_from_slice(&copy[num::to_usize(low % unit)..][..num::to_usize(high - low)]);
            from = block + 1;
        }
        Ok(())
    }
}

impl<R: ReadAt> ReadAt for Ext4<R> {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_blocks(offset, buf).map_err(|error| match error {
            Error::Io { source, .. } => source,
            other => io::Error::other(other),
        })
    }
}
