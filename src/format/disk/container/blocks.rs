//! A disk whose blocks are found by a table: what all containers have in common.

use super::disk::{Disk, Run};
use super::error::bad;
use super::pages::{Pages, Recent};
use crate::ints;
use crate::stream::ReadAt;
use std::io;

/// Unpacked blocks that are kept, for reads that are shorter than a block.
const KEPT: usize = 4;

/// The fewest bytes that a packed block has: deflate does no better than 1032 to 1.
const LEAST_PACKED: u64 = 16;

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: this one and those that follow, so many in all, read as zeros.
    Nothing(u64),
    /// In the file as it is, from this byte on.
    Plain(u64),
    /// In the file, packed.
    Packed {
        /// From this byte on.
        at: u64,
        /// In so many bytes.
        len: u64,
    },
}

/// What finds the blocks of a disk. Numbers are checked when the table is opened: a block has a length from 512 bytes to
/// 256 MiB, and a disk at most [`MAX_LEN`](super::disk::MAX_LEN) bytes.
pub(super) trait Table: Send + Sync {
    /// The length of the disk in bytes.
    fn size(&self) -> u64;

    /// The length of a block in bytes.
    fn block(&self) -> u64;

    /// Finds a block of the disk; `InvalidData` where its entry cannot be right.
    fn find<T: ReadAt>(&self, pages: &Pages<T>, block: u64) -> io::Result<Place>;

    /// Unpacks a block into `out`, which is as long as one.
    fn unpack(&self, _packed: &[u8], _out: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A disk.
pub(super) struct Blocks<T, B> {
    pages: Pages<T>,
    table: B,
    unpacked: Recent,
}

impl<T: ReadAt, B: Table> Blocks<T, B> {
    /// Reads a disk by its table.
    pub const fn new(pages: Pages<T>, table: B) -> Self {
        Self { pages, table, unpacked: Recent::new(KEPT) }
    }

    /// How many bytes of a block lie on the disk; the last one may be cut.
    fn len_of(&self, block: u64) -> u64 {
        self.table.block().min(self.table.size() - block * self.table.block())
    }

    fn find(&self, block: u64) -> io::Result<Place> {
        let cut = |at: u64, len: u64| at.checked_add(len).is_none_or(|end| end > self.pages.len());
        let place = self.table.find(&self.pages, block).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => bad(format!("the table for block {block} is behind its end")),
            _ => error,
        })?;
        match place {
            Place::Plain(at) if cut(at, self.len_of(block)) => {
                Err(bad(format!("block {block} is at byte {at}, and the file has {}", self.pages.len())))
            }
            Place::Packed { at, len } if cut(at, len) => Err(bad(format!(
                "block {block} has {len} bytes at byte {at}, and the file has {}",
                self.pages.len()
            ))),
            Place::Nothing(0) => Ok(Place::Nothing(1)),
            place => Ok(place),
        }
    }

    /// Reads a part of a block.
    fn read(&self, block: u64, within: u64, buf: &mut [u8]) -> io::Result<()> {
        match self.find(block)? {
            Place::Nothing(_) => buf.fill(0),
            Place::Plain(at) => self.pages.file().read_exact_at(buf, at + within)?,
            Place::Packed { at, len } => {
                let unpacked = self.unpacked.get_or(block, || {
                    let mut packed = vec![0; ints::to_usize(len)];
                    self.pages.file().read_exact_at(&mut packed, at)?;
                    let mut out = vec![0; ints::to_usize(self.table.block())];
                    self.table.unpack(&packed, &mut out).map_err(|error| {
                        bad(format!("block {block}, packed at byte {at}, cannot be unpacked: {error}"))
                    })?;
                    Ok(out)
                })?;
                let within = ints::to_usize(within);
                buf.copy_from_slice(&unpacked[within..within + buf.len()]);
            }
        }
        Ok(())
    }
}

impl<T: ReadAt, B: Table> ReadAt for Blocks<T, B> {
    fn size(&self) -> u64 {
        self.table.size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(ints::to_u64(buf.len())).filter(|end| *end <= self.table.size());
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = self.table.block();
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let within = at % length;
            let now = ints::to_usize((length - within).min(ints::to_u64(rest.len())));
            let (part, later) = rest.split_at_mut(now);
            self.read(at / length, within, part)?;
            at += ints::to_u64(now);
            rest = later;
        }
        Ok(())
    }
}

impl<T: ReadAt + Send + Sync, B: Table> Disk for Blocks<T, B> {
    fn run(&self, offset: u64) -> io::Result<Run> {
        if offset >= self.table.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = self.table.block();
        let block = offset / length;
        let (blocks, stored) = match self.find(block)? {
            Place::Nothing(blocks) => (blocks, false),
            Place::Plain(_) | Place::Packed { .. } => (1, true),
        };
        let end = block.saturating_add(blocks).saturating_mul(length).min(self.table.size());
        Ok(Run { len: end - offset, stored })
    }

    fn check(&self) -> io::Result<()> {
        let (mut block, mut used) = (0, 0_u64);
        let blocks = self.table.size().div_ceil(self.table.block());
        while block < blocks {
            let (next, here) = match self.find(block)? {
                Place::Nothing(blocks) => (blocks, 0),
                Place::Plain(_) => (1, self.len_of(block)),
                // What is said of its length may be more than it is, by up to two sectors.
                Place::Packed { len, .. } => (1, len.saturating_sub(1023).max(LEAST_PACKED)),
            };
            block = block.saturating_add(next);
            used += here;
            if used > self.pages.len() {
                let len = self.pages.len();
                return Err(bad(format!("the first {block} blocks have no room in a file of {len} bytes")));
            }
        }
        Ok(())
    }
}
