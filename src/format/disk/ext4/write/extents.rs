//! Which blocks a file has, and the tree in which ext4 says so.
//!
//! ```text
//! header  0xf30a u16 | entries u16 | max u16 | depth u16 | generation u32
//! extent  logical u32 | len u16 | start_hi u16 | start_lo u32
//! index   logical u32 | block_lo u32 | block_hi u16 | 0 u16
//! tail    checksum u32                                        in blocks, not in the inode
//! ```
//! Source: kernel `fs/ext4/ext4_extents.h`.

use super::geometry::Run;
use super::options::Error;
use crate::format::disk::ext4::ondisk::block::BLOCK_LEN;
use crate::format::disk::ext4::ondisk::checksum;
use crate::num;

/// Entries in the inode.
const INLINE: usize = 4;
/// Entries in a block.
const PER_BLOCK: usize = 340;
/// The longest extent, in blocks; longer ones would be read as unwritten.
const MAX_LEN: u64 = 32_768;

/// One extent.
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
    let extents = num::to_usize(extents);
    if extents <= INLINE {
        return Ok(0);
    }
    let leaves = extents.div_ceil(PER_BLOCK);
    if leaves <= INLINE {
        return Ok(num::to_u64(leaves));
    }
    let inner = leaves.div_ceil(PER_BLOCK);
    if inner > INLINE {
        return Err(Error::TooLarge);
    }
    Ok(num::to_u64(leaves + inner))
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
        let sum = checksum::update(seed, &out[..BLOCK_LEN - 4]);
        out[BLOCK_LEN - 4..].copy_from_slice(&sum.to_le_bytes());
    }
}

fn header(out: &mut [u8], entries: usize, max: usize, depth: u8) {
    out[0..2].copy_from_slice(&0xf30a_u16.to_le_bytes());
    // cannot fail: at most 340
    out[2..4].copy_from_slice(&u16::try_from(entries).unwrap_or(0).to_le_bytes());
    out[4..6].copy_from_slice(&u16::try_from(max).unwrap_or(0).to_le_bytes());
    out[6] = depth;
}

fn low32(n: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = n.to_le_bytes();
    [a, b, c, d]
}

fn put_extents(out: &mut [u8], pieces: &[Piece]) {
    for (piece, slot) in pieces.iter().zip(out[12..].chunks_exact_mut(12)) {
        slot[0..4].copy_from_slice(&low32(piece.logical));
        slot[4..6].copy_from_slice(&low32(piece.len)[..2]);
        slot[8..12].copy_from_slice(&low32(piece.start));
    }
}

fn put_index(out: &mut [u8], entries: impl Iterator<Item = (u64, u64)>) {
    for ((logical, block), slot) in entries.zip(out[12..].chunks_exact_mut(12)) {
        slot[0..4].copy_from_slice(&low32(logical));
        slot[4..8].copy_from_slice(&low32(block));
    }
}
