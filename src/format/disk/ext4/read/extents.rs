//! Where the blocks of a file are: extents, and the block maps of ext2 and ext3.
//!
//! ```text
//! node    magic f30a u16 | entries u16 | max u16 | depth u16 | generation u32 | entries of 12 bytes | checksum u32
//! leaf    logical u32 | len u16, above 32768: unwritten | start high u16 | start low u32
//! index   logical u32 | block low u32 | block high u16 | unused u16
//! ```
//! Source: kernel `fs/ext4/ext4_extents.h`; block maps: `fs/ext4/indirect.c`.

use super::superblock::blocks_of;
use super::{Error, Ext4, Inode, le16, le32};
use crate::format::disk::ext4::ondisk::checksum;
use crate::num;
use crate::stream::ReadAt;
use std::collections::BTreeSet;

/// Levels of an extent tree.
const MAX_DEPTH: u16 = 5;
/// The longest extent that holds data; above, the difference is the length of an unwritten one.
const MAX_EXTENT: u16 = 32_768;
/// Runs of one file that are kept: 32 MiB of memory.
const MAX_RUNS: usize = 1 << 20;
/// Blocks that are read to learn where one file is: enough for 1 TiB in a block map.
const MAX_INDEX_BLOCKS: usize = 1 << 18;

/// A run of blocks of a file.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The first block, counted in the file.
    pub logical: u64,
    /// The same, counted on the device.
    pub start: u64,
    /// How many blocks.
    pub len: u64,
    /// Allocated, but reads as zeros.
    pub unwritten: bool,
}

/// What is learnt while the map of one file is read.
struct Map<'a, R> {
    fs: &'a Ext4<R>,
    inode: &'a Inode,
    runs: Vec<Run>,
    /// Blocks of the map that were read, so that a cycle ends.
    seen: BTreeSet<u64>,
}

/// Where the blocks of a file are, in ascending order, without overlaps, all on the device.
pub fn runs<R: ReadAt>(fs: &Ext4<R>, inode: &Inode) -> Result<Vec<Run>, Error> {
    let mut map = Map { fs, inode, runs: Vec::new(), seen: BTreeSet::new() };
    if inode.has_extents() {
        map.extents()?;
    } else {
        map.block_map()?;
    }
    map.finish()
}

impl<R: ReadAt> Map<'_, R> {
    fn damaged(&self, what: &str) -> Error {
        Error::Damaged(format!("inode {} {what}", self.inode.number))
    }

    /// Reads a block of the map.
    fn block(&mut self, block: u64) -> Result<Vec<u8>, Error> {
        if !self.seen.insert(block) {
            return Err(self.damaged(&format!("is mapped by block {block} twice")));
        }
        if self.seen.len() > MAX_INDEX_BLOCKS {
            return Err(self.damaged("is mapped by too many blocks"));
        }
        let unit = self.fs.superblock.block_size;
        let mut bytes = vec![0; num::to_usize(unit)];
        self.fs.read(block.saturating_mul(unit), &mut bytes)?;
        Ok(bytes)
    }

    fn push(&mut self, run: Run) -> Result<(), Error> {
        let continues = |last: &&mut Run| {
            (last.logical + last.len, last.start + last.len, last.unwritten)
                == (run.logical, run.start, run.unwritten)
        };
        if let Some(last) = self.runs.last_mut().filter(continues) {
            last.len += run.len;
        } else if self.runs.len() == MAX_RUNS {
            return Err(self.damaged("is in too many pieces"));
        } else {
            self.runs.push(run);
        }
        Ok(())
    }

    /// Walks an extent tree.
    fn extents(&mut self) -> Result<(), Error> {
        // Nodes still to be read: block, and depth that it must have.
        let mut open = Vec::new();
        let root = self.inode.block;
        self.node(&root, None, &mut open)?;
        while let Some((block, depth)) = open.pop() {
            let node = self.block(block)?;
            self.check_node(&node, block)?;
            self.node(&node, Some(depth), &mut open)?;
        }
        Ok(())
    }

    fn node(&mut self, node: &[u8], expected: Option<u16>, open: &mut Vec<(u64, u16)>) -> Result<(), Error> {
        let (entries, max) = (usize::from(le16(node, 2)), usize::from(le16(node, 4)));
        let depth = le16(node, 6);
        let room = (node.len() - 12) / 12;
        let known = expected.is_none_or(|expected| expected == depth);
        if le16(node, 0) != 0xf30a || entries > max || max > room || depth > MAX_DEPTH || !known {
            return Err(self.damaged(&format!(
                "has an extent node of depth {depth} with {entries} of {max} entries, which cannot be"
            )));
        }
        let entries = node[12..12 + 12 * entries].chunks_exact(12);
        if depth > 0 {
            let block_of = |entry: &[u8]| u64::from(le32(entry, 4)) | u64::from(le16(entry, 8)) << 32;
            // The last is read first: what is pushed is popped in ascending order.
            open.extend(entries.rev().map(|entry| (block_of(entry), depth - 1)));
            return Ok(());
        }
        for entry in entries {
            let len = le16(entry, 4);
            let unwritten = len > MAX_EXTENT;
            let len = u64::from(if unwritten { len - MAX_EXTENT } else { len });
            let start = u64::from(le32(entry, 8)) | u64::from(le16(entry, 6)) << 32;
            if len == 0 {
                return Err(self.damaged("has an extent without blocks"));
            }
            self.push(Run { logical: u64::from(le32(entry, 0)), start, len, unwritten })?;
        }
        Ok(())
    }

    fn check_node(&self, node: &[u8], block: u64) -> Result<(), Error> {
        if !self.fs.superblock.has_checksums() {
            return Ok(());
        }
        // Entries of 12 bytes leave at least 4 in a block of any size; a `max` beyond that is refused later.
        let tail = 12 + 12 * usize::from(le16(node, 4)).min((node.len() - 16) / 12);
        let (stored, computed) = (le32(node, tail), checksum::update(self.inode.seed, &node[..tail]));
        if stored != computed {
            let what = format!("extent block {block} of inode {}", self.inode.number);
            return Err(Error::Checksum { what, stored, computed });
        }
        Ok(())
    }

    /// Walks a block map: twelve blocks, then trees of one, two and three levels.
    fn block_map(&mut self) -> Result<(), Error> {
        let unit = self.fs.superblock.block_size;
        let total = blocks_of(self.inode.size, unit);
        let pointer = |slot: usize| u64::from(le32(&self.inode.block, slot * 4));
        let direct: Vec<u64> = (0..12).map(pointer).collect();
        let trees = [(pointer(12), 1), (pointer(13), 2), (pointer(14), 3)];
        let mut logical = 0;
        self.pointers(&direct, &mut logical, total)?;
        for (block, levels) in trees {
            let mut open = vec![(block, levels)];
            while let Some((block, level)) = open.pop() {
                if logical >= total {
                    return Ok(());
                }
                if block == 0 {
                    logical += (unit / 4).pow(level);
                    continue;
                }
                let children = self.block(block)?;
                let children: Vec<u64> = children.chunks_exact(4).map(|p| u64::from(le32(p, 0))).collect();
                if level == 1 {
                    self.pointers(&children, &mut logical, total)?;
                } else {
                    open.extend(children.into_iter().rev().map(|child| (child, level - 1)));
                }
            }
        }
        Ok(())
    }

    fn pointers(&mut self, blocks: &[u64], logical: &mut u64, total: u64) -> Result<(), Error> {
        for start in blocks {
            if *start != 0 && *logical < total {
                self.push(Run { logical: *logical, start: *start, len: 1, unwritten: false })?;
            }
            *logical += 1;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Run>, Error> {
        let limit = self.fs.superblock.blocks;
        let mut mapped = 0u64;
        for run in &self.runs {
            mapped = mapped.saturating_add(run.len);
            if run.start == 0 || run.start.checked_add(run.len).is_none_or(|end| end > limit) {
                return Err(self.damaged(&format!(
                    "has {} blocks at block {}, the file system has {limit}",
                    run.len, run.start
                )));
            }
        }
        // Without this a small image could claim an endless file by naming the same blocks again and again.
        if mapped > limit {
            return Err(
                self.damaged(&format!("has {mapped} blocks, more than the {limit} of the file system"))
            );
        }
        if self.runs.windows(2).any(|pair| pair[0].logical + pair[0].len > pair[1].logical) {
            return Err(self.damaged("has extents that overlap or descend"));
        }
        Ok(self.runs)
    }
}
