//! A file system that can be read: its device, and over that what its journal has newer copies of.

use super::error::Error;
use super::replayed::Replayed;
use crate::format::disk::ext4::ondisk::journal::{H_MAGIC, MAGIC};
use crate::format::disk::ext4::read::superblock::Superblock;
use crate::ints;
use crate::stream::ReadAt;
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;

/// A file system that can be read.
pub struct Ext4<R> {
    device: R,
    /// What its superblock says, checked.
    pub superblock: Superblock,
    /// The name below which a system has it, where another file system is its root.
    pub(crate) mounted_at: Option<&'static str>,
    /// Bytes that were read, and how many of them to find paths.
    pub(crate) read: Cell<u64>,
    pub(crate) searched: Cell<u64>,
    /// What the journal has newer copies of.
    pub(crate) replayed: Arc<Replayed>,
    /// The inode table that was looked up last: the group, its first block.
    pub(crate) table: Cell<Option<(u32, u64)>>,
    /// The block of inodes that was read last, and where it is.
    pub(crate) inodes: RefCell<(u64, Vec<u8>)>,
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
    pub(crate) fn forget(&self) {
        self.table.set(None);
        self.inodes.replace((0, Vec::new()));
    }

    /// Reads bytes that must lie inside the file system and the device.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let end = offset.checked_add(ints::to_u64(out.len()));
        let limit = self.superblock.bytes();
        if end.is_none_or(|end| end > limit) {
            return Err(Error::Damaged(format!(
                "something is said to be at byte {offset}, the file system ends at {limit}"
            )));
        }
        self.read.set(self.read.get().saturating_add(ints::to_u64(out.len())));
        self.read_blocks(offset, out)
    }

    /// Reads from the device, and over that from the journal.
    fn read_blocks(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.device.read_exact_at(out, offset).map_err(|source| Error::Io { offset, source })?;
        let unit = self.superblock.block_size;
        let end = offset + ints::to_u64(out.len());
        let mut from = offset / unit;
        while let Some((block, at, escaped)) = self.replayed.next(from, end.div_ceil(unit)) {
            let mut copy = vec![0; ints::to_usize(unit)];
            let place = at.saturating_mul(unit);
            self.device
                .read_exact_at(&mut copy, place)
                .map_err(|source| Error::Io { offset: place, source })?;
            if escaped {
                H_MAGIC.put(&mut copy, MAGIC);
            }
            let (low, high) = ((block * unit).max(offset), ((block + 1) * unit).min(end));
            let range = ints::to_usize(low - offset)..ints::to_usize(high - offset);
            out[range].copy_from_slice(&copy[ints::to_usize(low % unit)..][..ints::to_usize(high - low)]);
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
