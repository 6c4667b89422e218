//! The contents of files: extents, and the block maps of ext2 and ext3.

use super::superblock::blocks_of;
use super::{Error, Ext4, Inode, le16, le32};
use crate::format::ext4::checksum;
use crate::num;
use crate::stream::ReadAt;

/// Bytes read at a time.
const CHUNK: u64 = 256 << 10;
/// Levels of an extent tree.
const MAX_DEPTH: u16 = 5;

/// A run of blocks of a file.
#[derive(Clone, Copy, Debug)]
struct Run {
    logical: u64,
    start: u64,
    len: u64,
    /// Allocated, but reads as zeros.
    unwritten: bool,
}

/// The contents of one file, from its first byte to its last.
pub struct Contents<'a, R> {
    fs: &'a Ext4<R>,
    inode: u32,
    size: u64,
    position: u64,
    runs: Vec<Run>,
}

impl<R: ReadAt> Ext4<R> {
    /// Opens the contents of a file, directory or symlink.
    pub fn contents(&self, inode: &Inode) -> Result<Contents<'_, R>, Error> {
        let mut runs = if inode.has_extents() { self.extents(inode)? } else { self.block_map(inode)? };
        runs.sort_unstable_by_key(|run| run.logical);
        let damaged = |what: &str| Error::Damaged(format!("inode {} {what}", inode.number));
        if runs.windows(2).any(|pair| pair[0].logical + pair[0].len > pair[1].logical) {
            return Err(damaged("has extents that overlap"));
        }
        let limit = self.superblock.blocks;
        if runs.iter().any(|run| run.start.checked_add(run.len).is_none_or(|end| end > limit)) {
            return Err(damaged("has blocks beyond the end of the file system"));
        }
        Ok(Contents { fs: self, inode: inode.number, size: inode.size, position: 0, runs })
    }

    /// All extents of an inode. The tree is walked level by level; a block is read once, so that a cycle ends.
    fn extents(&self, inode: &Inode) -> Result<Vec<Run>, Error> {
        let mut runs = Vec::new();
        let mut queue = vec![(inode.block.to_vec(), None)];
        let mut seen = std::collections::BTreeSet::new();
        let damaged =
            |what: String| Error::Damaged(format!("the extent tree of inode {} {what}", inode.number));
        while let Some((node, above)) = queue.pop() {
            let (entries, max, depth) =
                (usize::from(le16(&node, 2)), usize::from(le16(&node, 4)), le16(&node, 6));
            let room = (node.len() - 12) / 12;
            if le16(&node, 0) != 0xf30a
                || entries > max
                || max > room
                || depth > MAX_DEPTH
                || above.is_some_and(|above| depth + 1 != above)
            {
                return Err(damaged("has a node that is none".to_owned()));
            }
            if above.is_some() && self.superblock.has_checksums() {
                let tail = 12 + 12 * max;
                if tail + 4 <= node.len() && checksum::update(inode.seed, &node[..tail]) != le32(&node, tail)
                {
                    return Err(damaged("has a block with a wrong checksum".to_owned()));
                }
            }
            for entry in node[12..12 + 12 * entries].chunks_exact(12) {
                let logical = u64::from(le32(entry, 0));
                if depth == 0 {
                    let len = le16(entry, 4);
                    let (len, unwritten) = if len > 32_768 { (len - 32_768, true) } else { (len, false) };
                    let start = u64::from(le32(entry, 8)) | u64::from(le16(entry, 6)) << 32;
                    runs.push(Run { logical, start, len: u64::from(len), unwritten });
                    continue;
                }
                let block = u64::from(le32(entry, 4)) | u64::from(le16(entry, 8)) << 32;
                if !seen.insert(block) {
                    return Err(damaged(format!("leads to block {block} twice")));
                }
                queue.push((self.block(block)?, Some(depth)));
            }
            if num::to_u64(runs.len()) > self.superblock.blocks {
                return Err(damaged("has more extents than there are blocks".to_owned()));
            }
        }
        Ok(runs)
    }

    /// The blocks of an inode of ext2 or ext3: twelve, then trees of one, two and three levels.
    fn block_map(&self, inode: &Inode) -> Result<Vec<Run>, Error> {
        let mut runs = Vec::new();
        let total = blocks_of(inode.size, self.superblock.block_size);
        let mut logical = 0;
        for slot in 0..12 {
            push(&mut runs, logical, u64::from(le32(&inode.block, slot * 4)));
            logical += 1;
        }
        let mut seen = std::collections::BTreeSet::new();
        for (slot, levels) in (12..15).zip(1..) {
            let mut open = vec![(u64::from(le32(&inode.block, slot * 4)), levels)];
            while let Some((block, level)) = open.pop() {
                let span = (self.superblock.block_size / 4).pow(level);
                if logical >= total {
                    break;
                }
                if block == 0 {
                    logical += span;
                    continue;
                }
                if !seen.insert(block) {
                    return Err(Error::Damaged(format!(
                        "the block map of inode {} leads to block {block} twice",
                        inode.number
                    )));
                }
                let children = self.block(block)?;
                let pointers: Vec<u64> =
                    children.chunks_exact(4).map(|bytes| u64::from(le32(bytes, 0))).collect();
                if level > 1 {
                    open.extend(pointers.into_iter().rev().map(|child| (child, level - 1)));
                } else {
                    for pointer in pointers {
                        push(&mut runs, logical, pointer);
                        logical += 1;
                    }
                }
            }
        }
        Ok(runs)
    }

    fn block(&self, block: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; num::to_usize(self.superblock.block_size)];
        self.read(block.saturating_mul(self.superblock.block_size), &mut bytes)?;
        Ok(bytes)
    }
}

/// Adds a block to runs, where it is one.
fn push(runs: &mut Vec<Run>, logical: u64, start: u64) {
    if start == 0 {
        return;
    }
    match runs.last_mut() {
        Some(last) if last.logical + last.len == logical && last.start + last.len == start => last.len += 1,
        _ => runs.push(Run { logical, start, len: 1, unwritten: false }),
    }
}

impl<R: ReadAt> Contents<'_, R> {
    /// The next bytes; `None` at the end. Holes are zeros.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.next_of(CHUNK)
    }

    /// The next block, for directories.
    pub(super) fn next_block(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if !self.size.is_multiple_of(self.fs.superblock.block_size) {
            return Err(Error::Damaged(format!(
                "the directory in inode {} has {} bytes, which are no whole blocks",
                self.inode, self.size
            )));
        }
        self.next_of(self.fs.superblock.block_size)
    }

    fn next_of(&mut self, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let left = self.size - self.position;
        if left == 0 {
            return Ok(None);
        }
        let block_size = self.fs.superblock.block_size;
        let (block, within) = (self.position / block_size, self.position % block_size);
        let after = self.runs.partition_point(|run| run.logical + run.len <= block);
        let (len, from) = match self.runs.get(after) {
            Some(run) if run.logical <= block => {
                let len = (run.logical + run.len - block) * block_size - within;
                (len, (!run.unwritten).then(|| (run.start + block - run.logical) * block_size + within))
            }
            Some(run) => ((run.logical - block) * block_size - within, None),
            None => (left, None),
        };
        let len = len.min(left).min(most);
        let mut bytes = vec![0; num::to_usize(len)];
        if let Some(from) = from {
            self.fs.read(from, &mut bytes)?;
        }
        self.position += len;
        Ok(Some(bytes))
    }
}
