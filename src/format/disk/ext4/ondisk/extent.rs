//! Nodes of an extent tree, in the inode or in a block of their own.
//!
//! ```text
//! header  magic u16 | entries u16 | max u16 | depth u16 | generation u32
//! extent  logical u32 | len u16 | start high u16 | start low u32
//! index   logical u32 | block low u32 | block high u16 | unused u16
//! tail    checksum u32                                        behind `max` entries, in blocks, not in the inode
//! ```
//! Source: kernel `fs/ext4/ext4_extents.h`; names are those of the kernel.

use super::checksum;
use crate::bytes::{Le16, Le32};

/// What [`EH_MAGIC`] says.
pub const MAGIC: u16 = 0xf30a;
/// Bytes of the header.
pub const HEADER: usize = 12;
/// Bytes of an entry, of either kind.
pub const ENTRY: usize = 12;
/// Bytes of the checksum behind the entries.
const TAIL: usize = Le32::LEN;
/// The longest extent that holds data, in blocks (`EXT_INIT_MAX_LEN`); above, the difference is the length of an
/// unwritten one.
pub const INIT_MAX_LEN: u16 = 32_768;
/// The most levels of a tree (`EXT4_MAX_EXTENT_DEPTH`).
pub const MAX_DEPTH: u16 = 5;

pub const EH_MAGIC: Le16 = Le16(0);
pub const EH_ENTRIES: Le16 = Le16(2);
pub const EH_MAX: Le16 = Le16(4);
pub const EH_DEPTH: Le16 = Le16(6);

pub const EE_BLOCK: Le32 = Le32(0);
pub const EE_LEN: Le16 = Le16(4);
pub const EE_START_HI: Le16 = Le16(6);
pub const EE_START_LO: Le32 = Le32(8);

pub const EI_BLOCK: Le32 = Le32(0);
pub const EI_LEAF_LO: Le32 = Le32(4);
pub const EI_LEAF_HI: Le16 = Le16(8);

/// Where the checksum of a block is. A `max` beyond what there is room for counts as the most.
pub fn checksum_of(block: &[u8]) -> Le32 {
    let room = block.len().saturating_sub(HEADER + TAIL) / ENTRY;
    Le32(HEADER + ENTRY * usize::from(EH_MAX.get(block)).min(room))
}

/// The checksum that belongs to a block.
pub fn sum(seed: u32, block: &[u8]) -> u32 {
    checksum::update(seed, &block[..checksum_of(block).0])
}

/// Puts its checksum into a block.
pub fn sign(seed: u32, block: &mut [u8]) {
    let sum = sum(seed, block);
    checksum_of(block).put(block, sum);
}
