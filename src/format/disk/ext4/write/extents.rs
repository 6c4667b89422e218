//! Which blocks a file has, and the tree in which ext4 says so.

use super::geometry::Run;
use super::options::Error;
use crate::format::disk::ext4::ondisk::block::BLOCK_LEN;
use crate::format::disk::ext4::ondisk::extent;
use crate::format::disk::ext4::ondisk::inode::I_BLOCK;
use crate::ints;

/// Entries in the inode.
const INLINE: usize = (I_BLOCK.len() - extent::HEADER) / extent::ENTRY;
/// Entries in a block.
const PER_BLOCK: usize = (BLOCK_LEN - extent::HEADER) / extent::ENTRY;
/// The longest extent, in blocks; longer ones would be read as unwritten.
const MAX_LEN: u64 = extent::INIT_MAX_LEN as u64;

/// Blocks that follow each other in the file and on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    logical: u64,
    start: u64,
    len: u64,
}

/// The extent tree of one inode: the runs of its data, and the blocks of the tree itself.
pub struct ExtentTree<'a> {
    /// Where the data are, in file order.
    pub runs: &'a [Run],
    /// Where the tree's blocks are: leaves first, then the blocks above them.
    pub blocks: &'a [u64],
}

/// How many blocks the tree over these runs needs outside the inode.
pub fn tree_blocks(runs: &[Run]) -> Result<u64, Error> {
    let extents: u64 = runs.iter().map(|run| run.len.div_ceil(MAX_LEN)).sum();
    let extents = ints::to_usize(extents);
    if extents <= INLINE {
        return Ok(0);
    }
    let leaves = extents.div_ceil(PER_BLOCK);
    if leaves <= INLINE {
        return Ok(ints::to_u64(leaves));
    }
    let inner = leaves.div_ceil(PER_BLOCK);
    if inner > INLINE {
        return Err(Error::TooLarge);
    }
    Ok(ints::to_u64(leaves + inner))
}

impl ExtentTree<'_> {
    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut logical = 0;
        for run in self.runs {
            let mut done = 0;
            while done < run.len {
                let len = MAX_LEN.min(run.len - done);
                pieces.push(Piece { logical: logical + done, start: run.start + done, len });
                done += len;
            }
            logical += run.len;
        }
        pieces
    }

    fn leaves(&self, pieces: &[Piece]) -> usize {
        if pieces.len() <= INLINE { 0 } else { pieces.len().div_ceil(PER_BLOCK) }
    }

    /// Renders the 60 bytes in the inode.
    pub fn inline(&self, out: &mut [u8]) {
        out.fill(0);
        let pieces = self.pieces();
        let leaves = self.leaves(&pieces);
        if leaves == 0 {
            header(out, pieces.len(), INLINE, 0);
            put_extents(out, &pieces);
        } else if leaves <= INLINE {
            header(out, leaves, INLINE, 1);
            put_index(
                out,
                pieces.chunks(PER_BLOCK).map(|chunk| chunk[0].logical).zip(self.blocks.iter().copied()),
            );
        } else {
            let inner = &self.blocks[leaves..];
            header(out, inner.len(), INLINE, 2);
            let firsts = pieces.chunks(PER_BLOCK * PER_BLOCK).map(|chunk| chunk[0].logical);
            put_index(out, firsts.zip(inner.iter().copied()));
        }
    }

    /// Renders block `n` of the tree.
    pub fn block(&self, n: usize, seed: u32, out: &mut [u8]) {
        out.fill(0);
        let pieces = self.pieces();
        let leaves = self.leaves(&pieces);
        if n < leaves {
            let chunk = &pieces[n * PER_BLOCK..pieces.len().min((n + 1) * PER_BLOCK)];
            header(out, chunk.len(), PER_BLOCK, 0);
            put_extents(out, chunk);
        } else {
            let first = (n - leaves) * PER_BLOCK;
            let last = leaves.min(first + PER_BLOCK);
            header(out, last - first, PER_BLOCK, 1);
            let firsts = pieces.chunks(PER_BLOCK).map(|chunk| chunk[0].logical).skip(first);
            put_index(out, firsts.zip(self.blocks[first..last].iter().copied()));
        }
        extent::sign(seed, out);
    }
}

fn header(out: &mut [u8], entries: usize, max: usize, depth: u16) {
    extent::EH_MAGIC.put(out, extent::MAGIC);
    extent::EH_ENTRIES.put_low(out, ints::to_u64(entries));
    extent::EH_MAX.put_low(out, ints::to_u64(max));
    extent::EH_DEPTH.put(out, depth);
}

fn slots(out: &mut [u8]) -> impl Iterator<Item = &mut [u8]> {
    out[extent::HEADER..].chunks_exact_mut(extent::ENTRY)
}

fn put_extents(out: &mut [u8], pieces: &[Piece]) {
    for (piece, slot) in pieces.iter().zip(slots(out)) {
        extent::EE_BLOCK.put_low(slot, piece.logical);
        extent::EE_LEN.put_low(slot, piece.len);
        extent::EE_START_LO.put_low(slot, piece.start);
    }
}

fn put_index(out: &mut [u8], entries: impl Iterator<Item = (u64, u64)>) {
    for ((logical, block), slot) in entries.zip(slots(out)) {
        extent::EI_BLOCK.put_low(slot, logical);
        extent::EI_LEAF_LO.put_low(slot, block);
    }
}
