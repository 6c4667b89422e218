//! Types of partitions that hold a FAT, and the sectors of their tables.

/// The first sector of a disk, in bytes.
pub(crate) const SECTOR: usize = 512;
/// Types of partitions that hold a FAT.
pub(crate) const FAT_TYPES: [u8; 6] = [0x04, 0x06, 0x0b, 0x0c, 0x0e, 0xef];
