//! The size of blocks, and what follows from it.

/// Bytes of a block.
pub(crate) const BLOCK: u64 = 4096;
/// The same, as a length in memory.
pub(crate) const BLOCK_LEN: usize = 4096;
/// The longest file: 2^32 - 1 blocks.
pub(crate) const MAX_FILE: u64 = (u32::MAX as u64) * BLOCK;
