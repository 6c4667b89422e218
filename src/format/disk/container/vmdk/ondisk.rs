//! What lies where in a VMDK; all numbers are little-endian, and all places are counted in sectors of 512 bytes.
//!
//! ```text
//! 0          header
//! 1          descriptor, a text
//! anywhere   grain directory: 32 bits for each grain table
//!            grain tables: 32 bits for each of 512 grains
//!            grains; packed ones each behind a header with their number
//! ```
//! In a stream each table is behind a marker, and the directory comes last, before a second header that has its place.

use crate::bytes::{Le16, Le32, Le64, Raw, U8};

pub(in crate::format::disk::container) const MAGIC: &[u8; 4] = b"KDMV";
pub(super) const SECTOR: u64 = 512;

pub(super) const VERSION: Le32 = Le32(4);
pub(super) const FLAGS: Le32 = Le32(8);
pub(super) const CAPACITY: Le64 = Le64(12);
pub(super) const GRAIN_SIZE: Le64 = Le64(20);
pub(super) const DESCRIPTOR_OFFSET: Le64 = Le64(28);
pub(super) const DESCRIPTOR_SIZE: Le64 = Le64(36);
pub(super) const NUM_GTES_PER_GT: Le32 = Le32(44);
pub(super) const GD_OFFSET: Le64 = Le64(56);
pub(super) const OVER_HEAD: Le64 = Le64(64);
/// Line ends, which show what a transfer of text does to a file.
pub(super) const LINE_ENDS: Raw<4> = Raw(73);
pub(super) const LINE_ENDS_VALUE: [u8; 4] = *b"\n \r\n";
pub(super) const COMPRESS_ALGORITHM: Le16 = Le16(77);

/// Bits of [`FLAGS`].
pub(super) const VALID_LINE_ENDS: u32 = 1;
pub(super) const ZEROED_GRAINS: u32 = 1 << 2;
pub(super) const COMPRESSED: u32 = 1 << 16;
pub(super) const MARKERS: u32 = 1 << 17;
/// A value of [`COMPRESS_ALGORITHM`].
pub(super) const DEFLATE: u16 = 1;
/// [`GD_OFFSET`] of the first header of a stream.
pub(super) const GD_AT_END: u64 = u64::MAX;
/// Grains of a table; no other number occurs.
pub(super) const GRAINS: u32 = 512;
/// An entry of a grain that is zeros, where [`ZEROED_GRAINS`] is set.
pub(super) const ZEROED: u32 = 1;
/// The length of a grain that nixflash writes, in bytes; for a stream there is no other.
pub const GRAIN: u64 = 64 << 10;

/// Before each packed grain: its place on the disk, and its length in bytes.
pub(super) mod grain {
    use crate::bytes::{Le32, Le64};

    pub const LBA: Le64 = Le64(0);
    pub const SIZE: Le32 = Le32(8);
    pub const LEN: usize = 12;
}

/// Before each table of a stream: a sector that says how many sectors follow, and what they are.
pub(super) mod marker {
    use crate::bytes::{Le32, Le64};

    pub const SECTORS: Le64 = Le64(0);
    pub const TYPE: Le32 = Le32(12);
    pub const GRAIN_TABLE: u32 = 1;
    pub const GRAIN_DIRECTORY: u32 = 2;
    pub const FOOTER: u32 = 3;
}

/// Whether this file was shut down properly.
pub(super) const UNCLEAN_SHUTDOWN: U8 = U8(72);
