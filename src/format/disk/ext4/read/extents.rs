//! Where the blocks of a file are: extents, and the block maps of ext2 and ext3.
//!
//! Source: kernel `fs/ext4/extents.c`; block maps: `fs/ext4/indirect.c`.

use super::error::Error;
use super::file_system::Ext4;
use super::inode::Inode;
use crate::bytes::Le32;
use crate::format::disk::ext4::ondisk::extent::{self, ENTRY, HEADER};
use crate::format::disk::ext4::ondisk::inode::{DIND_BLOCK, IND_BLOCK, NDIR_BLOCKS, TIND_BLOCK};
use crate::ints;
use crate::stream::ReadAt;
use std::collections::BTreeSet;

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
        let mut bytes = vec![0; ints::to_usize(unit)];
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
        let entries = usize::from(extent::EH_ENTRIES.get(node));
        let (max, depth) = (usize::from(extent::EH_MAX.get(node)), extent::EH_DEPTH.get(node));
        let room = (node.len() - HEADER) / ENTRY;
        let is_node = extent::EH_MAGIC.get(node) == extent::MAGIC;
        let known = expected.is_none_or(|expected| expected == depth);
        if !is_node || entries > max || max > room || depth > extent::MAX_DEPTH || !known {
            return Err(self.damaged(&format!(
                "has an extent node of depth {depth} with {entries} of {max} entries, which cannot be"
            )));
        }
        let entries = node[HEADER..HEADER + ENTRY * entries].chunks_exact(ENTRY);
        if depth > 0 {
            let block_of = |entry: &[u8]| {
                u64::from(extent::EI_LEAF_LO.get(entry)) | u64::from(extent::EI_LEAF_HI.get(entry)) << 32
            };
            // The last is read first: what is pushed is popped in ascending order.
            open.extend(entries.rev().map(|entry| (block_of(entry), depth - 1)));
            return Ok(());
        }
        for entry in entries {
            let len = extent::EE_LEN.get(entry);
            let unwritten = len > extent::INIT_MAX_LEN;
            let len = u64::from(if unwritten { len - extent::INIT_MAX_LEN } else { len });
            let start = extent::EE_START_LO.get(entry);
            let start = u64::from(start) | u64::from(extent::EE_START_HI.get(entry)) << 32;
            if len == 0 {
                return Err(self.damaged("has an extent without blocks"));
            }
            self.push(Run { logical: extent::EE_BLOCK.get(entry).into(), start, len, unwritten })?;
        }
        Ok(())
    }

    fn check_node(&self, node: &[u8], block: u64) -> Result<(), Error> {
        if !self.fs.superblock.has_checksums() {
            return Ok(());
        }
        // A `max` beyond what there is room for is refused later.
        let stored = extent::checksum_of(node).get(node);
        let computed = extent::sum(self.inode.seed, node);
        if stored != computed {
            let what = format!("extent block {block} of inode {}", self.inode.number);
            return Err(Error::Checksum { what, stored, computed });
        }
        Ok(())
    }

    /// Walks a block map: twelve blocks, then trees of one, two and three levels.
    fn block_map(&mut self) -> Result<(), Error> {
        let unit = self.fs.superblock.block_size;
        let total = self.inode.size.div_ceil(unit);
        let pointer = |slot: usize| u64::from(Le32(slot * Le32::LEN).get(&self.inode.block));
        let direct: Vec<u64> = (0..NDIR_BLOCKS).map(pointer).collect();
        let trees = [(pointer(IND_BLOCK), 1), (pointer(DIND_BLOCK), 2), (pointer(TIND_BLOCK), 3)];
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
                let children: Vec<u64> =
                    children.chunks_exact(Le32::LEN).map(|p| Le32(0).get(p).into()).collect();
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
