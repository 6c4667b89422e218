//! The measures of every file system that is made here, and what follows from them.

use super::group;

/// Bytes of a block.
pub(crate) const BLOCK: u64 = 4096;
/// The same, as a length in memory.
pub(crate) const BLOCK_LEN: usize = 4096;
/// What `s_log_block_size` says of it: 1024 << 2.
pub(crate) const LOG_BLOCK_SIZE: u32 = 2;
/// The longest file: 2^32 - 1 blocks.
pub(crate) const MAX_FILE: u64 = (u32::MAX as u64) * BLOCK;
/// Blocks in a group: the bits of a one-block bitmap.
pub(crate) const GROUP_BLOCKS: u64 = 8 * BLOCK;
/// Descriptors in a block.
pub(crate) const DESCRIPTORS_PER_BLOCK: u64 = BLOCK / group::LEN;
/// Bytes of an inode.
pub(crate) const INODE_SIZE: u64 = 256;
/// The same, as `s_inode_size` says it.
pub(crate) const INODE_SIZE_FIELD: u16 = 256;
/// Inodes in a block.
pub(crate) const INODES_PER_BLOCK: u64 = BLOCK / INODE_SIZE;
/// Pointers in a block of a block map, such as those of the resize inode.
pub(crate) const POINTERS_PER_BLOCK: u64 = BLOCK / 4;
