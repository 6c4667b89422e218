//! Group descriptors: 32 bytes each, or 64 with the feature `64bit`, whose second half has the high halves.
//!
//! Source: kernel `fs/ext4/ext4.h` (`struct ext4_group_desc`), `fs/ext4/super.c` (`ext4_group_desc_csum`),
//! `fs/ext4/bitmap.c`; names are those of the kernel.

use super::checksum;
use crate::bytes::{Le16, Le32};

/// Bytes of a descriptor without high halves.
pub const LEN: u64 = 32;
/// Bytes from which on a descriptor has high halves.
pub const WIDE: usize = 64;

/// A flag of [`BG_FLAGS`]: no inode is in use, the inode bitmap was never written (`EXT4_BG_INODE_UNINIT`).
pub const INODE_UNINIT: u16 = 1;
/// A flag: only metadata are in use, the block bitmap was never written (`EXT4_BG_BLOCK_UNINIT`).
pub const BLOCK_UNINIT: u16 = 2;
/// A flag: what the inode table does not use is zeros (`EXT4_BG_INODE_ZEROED`).
pub const INODE_ZEROED: u16 = 4;

pub const BG_BLOCK_BITMAP: Place = Place { low: Le32(0x00), high: Le32(0x20) };
pub const BG_INODE_BITMAP: Place = Place { low: Le32(0x04), high: Le32(0x24) };
pub const BG_INODE_TABLE: Place = Place { low: Le32(0x08), high: Le32(0x28) };
pub const BG_FREE_BLOCKS_COUNT: Count = Count { low: Le16(0x0c), high: Le16(0x2c) };
pub const BG_FREE_INODES_COUNT: Count = Count { low: Le16(0x0e), high: Le16(0x2e) };
pub const BG_USED_DIRS_COUNT: Count = Count { low: Le16(0x10), high: Le16(0x30) };
pub const BG_FLAGS: Le16 = Le16(0x12);
pub const BG_BLOCK_BITMAP_CSUM: Count = Count { low: Le16(0x18), high: Le16(0x38) };
pub const BG_INODE_BITMAP_CSUM: Count = Count { low: Le16(0x1a), high: Le16(0x3a) };
pub const BG_ITABLE_UNUSED: Count = Count { low: Le16(0x1c), high: Le16(0x32) };
pub const BG_CHECKSUM: Le16 = Le16(0x1e);

/// The number of a block, in two halves.
#[derive(Clone, Copy)]
pub struct Place {
    low: Le32,
    high: Le32,
}

impl Place {
    pub fn get(self, descriptor: &[u8]) -> u64 {
        let high = if descriptor.len() >= WIDE { self.high.get(descriptor) } else { 0 };
        u64::from(self.low.get(descriptor)) | u64::from(high) << 32
    }

    /// Puts a number into a descriptor of 32 bytes, which has room for no larger one than 2^32 - 1.
    pub fn put(self, descriptor: &mut [u8], block: u64) {
        self.low.put_low(descriptor, block);
    }
}

/// A number or a checksum, in two halves.
#[derive(Clone, Copy)]
pub struct Count {
    low: Le16,
    high: Le16,
}

impl Count {
    pub fn get(self, descriptor: &[u8]) -> u32 {
        let high = if descriptor.len() >= WIDE { self.high.get(descriptor) } else { 0 };
        u32::from(self.low.get(descriptor)) | u32::from(high) << 16
    }

    /// Puts the low half into a descriptor of 32 bytes, which has no other.
    pub fn put(self, descriptor: &mut [u8], value: u64) {
        self.low.put_low(descriptor, value);
    }
}

/// The checksum that belongs to the descriptor of a group.
pub fn sum(seed: u32, group: u32, descriptor: &[u8]) -> u16 {
    let (before, behind) = (BG_CHECKSUM.0, BG_CHECKSUM.0 + Le16::LEN);
    let sum = checksum::update(checksum::update(seed, &group.to_le_bytes()), &descriptor[..before]);
    checksum::low16(checksum::update(checksum::update(sum, &[0; Le16::LEN]), &descriptor[behind..]))
}

/// Puts its checksum into the descriptor of a group.
pub fn sign(seed: u32, group: u32, descriptor: &mut [u8]) {
    let sum = sum(seed, group, descriptor);
    BG_CHECKSUM.put(descriptor, sum);
}

/// The checksum of a bitmap, as much of it as a descriptor holds: 16 bits without high halves. The bytes are those
/// that stand for blocks or inodes of the group, without what pads them to a block.
pub fn bitmap_sum(seed: u32, bitmap: &[u8], descriptor_len: usize) -> u32 {
    let sum = checksum::update(seed, bitmap);
    if descriptor_len >= WIDE { sum } else { checksum::low16(sum).into() }
}

/// Whether a group has a copy of superblock and descriptors, with the feature `sparse_super`: the first two do, and
/// those whose number is a power of 3, 5 or 7.
pub fn has_backup(group: u64) -> bool {
    let power_of = |base: u64| {
        let mut n = base;
        while n < group {
            n *= base;
        }
        n == group
    };
    group <= 1 || power_of(3) || power_of(5) || power_of(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_in_powers_of_three_five_and_seven() {
        let groups: Vec<u64> = (0..130).filter(|group| has_backup(*group)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn the_second_half_counts_only_where_there_is_one() {
        let descriptor: Vec<u8> = (0..64).collect();
        assert_eq!(BG_INODE_TABLE.get(&descriptor), 0x2b2a_2928_0b0a_0908);
        assert_eq!(BG_INODE_TABLE.get(&descriptor[..32]), 0x0b0a_0908);
        assert_eq!(BG_ITABLE_UNUSED.get(&descriptor), 0x3332_1d1c);
        assert_eq!(BG_ITABLE_UNUSED.get(&descriptor[..32]), 0x1d1c);
    }
}
