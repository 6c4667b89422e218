//! Blocks of a directory: entries, or the nodes of a hash tree, which look like empty entries.
//!
//! ```text
//! entry   inode u32 | rec_len u16 | name_len u8 | file_type u8 | name, padded to 4
//! tail    0 u32 | 12 u16 | 0 u8 | de u8 | checksum u32                      last 12 bytes of a block of entries
//! root    "." | ".." to the end | 0 u32 | hash u8 | 8 u8 | levels u8 | 0 u8 | index      first block of a tree
//! node    0 u32 | rec_len to the end | 0 u16 | index                        inner block of a tree
//! index   limit u16 | count u16 | block u32 | (hash u32 | block u32) * | reserved u32 | checksum u32
//!         the first entry has no hash; the last eight bytes are behind `limit` entries
//! ```
//! Source: kernel `fs/ext4/ext4.h`, `fs/ext4/namei.c` (`ext4_dirblock_csum_verify`, `get_dx_countlimit`,
//! `ext4_dx_csum`); names are those of the kernel.

use super::checksum;
use crate::bytes::{Le16, Le32, Raw, U8};

/// Bytes of an entry without its name.
pub const HEADER: usize = 8;
/// Bytes of the entry that holds the checksum of a block of entries.
pub const TAIL: usize = 12;
/// Bytes of an entry of an index.
pub const INDEX_ENTRY: usize = 8;
/// Where the index of a root begins.
pub const ROOT_INDEX: usize = 32;
/// Where that of an inner block does.
pub const NODE_INDEX: usize = 8;
/// What [`DX_INFO_LENGTH`] says.
pub const INFO_LENGTH: u8 = 8;

/// What [`DE_FILE_TYPE`] says (`EXT4_FT_*`).
pub const FT_REG_FILE: u8 = 1;
pub const FT_DIR: u8 = 2;
pub const FT_SYMLINK: u8 = 7;
/// The same, of the entry that holds a checksum.
pub const FT_DIR_CSUM: u8 = 0xde;

pub const DE_INODE: Le32 = Le32(0);
pub const DE_REC_LEN: Le16 = Le16(4);
pub const DE_NAME_LEN: U8 = U8(6);
pub const DE_FILE_TYPE: U8 = U8(7);

/// The checksum in the last entry of a block of entries.
pub const DET_CHECKSUM: Le32 = Le32(8);

/// Fields of a root, from the start of its block (`struct dx_root_info`).
pub const DX_RESERVED_ZERO: Le32 = Le32(24);
pub const DX_HASH_VERSION: U8 = U8(28);
pub const DX_INFO_LENGTH: U8 = U8(29);
pub const DX_INDIRECT_LEVELS: U8 = U8(30);
pub const DX_UNUSED_FLAGS: U8 = U8(31);

/// Fields of an index, from where it begins (`struct dx_countlimit`); of an entry, of the checksum behind them.
pub const DX_LIMIT: Le16 = Le16(0);
pub const DX_COUNT: Le16 = Le16(2);
pub const DX_HASH: Le32 = Le32(0);
pub const DX_BLOCK: Le32 = Le32(4);
pub const DT_RESERVED: Raw<4> = Raw(0);
pub const DT_CHECKSUM: Le32 = Le32(4);

/// Whether a block of entries ends with an entry for its checksum.
pub fn has_tail(block: &[u8]) -> bool {
    let tail = &block[block.len().saturating_sub(TAIL)..];
    DE_INODE.get(tail) == 0
        && usize::from(DE_REC_LEN.get(tail)) == TAIL
        && DE_NAME_LEN.get(tail) == 0
        && DE_FILE_TYPE.get(tail) == FT_DIR_CSUM
}

/// The checksum that belongs to a block of entries, over all but the last one.
pub fn leaf_sum(seed: u32, block: &[u8]) -> u32 {
    checksum::update(seed, &block[..block.len().saturating_sub(TAIL)])
}

/// An index: where it begins in its block, and what it says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    pub at: usize,
    pub limit: usize,
    pub count: usize,
}

impl Index {
    /// Reads what an index at `at` says of itself.
    pub fn read(block: &[u8], at: usize) -> Self {
        let limit = usize::from(DX_LIMIT.from(at).get(block));
        Self { at, limit, count: usize::from(DX_COUNT.from(at).get(block)) }
    }

    /// Where its checksum begins: eight bytes behind the last entry that there is room for.
    pub const fn tail(self) -> usize {
        self.at + INDEX_ENTRY * self.limit
    }

    /// The checksum that belongs to it: over what is used, and its own eight bytes with the checksum as zero. Both lie
    /// within the block.
    pub fn sum(self, seed: u32, block: &[u8]) -> u32 {
        let sum = checksum::update(seed, &block[..self.at + INDEX_ENTRY * self.count]);
        let sum = checksum::update(sum, &Raw::<4>(DT_RESERVED.0 + self.tail()).get(block));
        checksum::update(sum, &[0; Le32::LEN])
    }
}
