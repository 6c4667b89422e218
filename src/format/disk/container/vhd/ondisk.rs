//! What lies where in a VHD; all numbers are big-endian.
//!
//! ```text
//! fixed     the disk | footer
//! dynamic   copy of the footer | header | table: 32 bits for each block | blocks, each behind a bitmap | footer
//! ```

use crate::bytes::{Be16, Be32, Be64, Raw, U8};

pub(in crate::format::disk::container) const COOKIE: &[u8; 8] = b"conectix";
/// Bytes of the footer.
pub(in crate::format::disk::container) const FOOTER_LEN: usize = 512;

pub(super) const FEATURES: Be32 = Be32(8);
pub(super) const FORMAT_VERSION: Be32 = Be32(12);
pub(super) const DATA_OFFSET: Be64 = Be64(16);
pub(super) const CREATOR_APPLICATION: Raw<4> = Raw(28);
pub(super) const CREATOR_VERSION: Be32 = Be32(32);
pub(super) const CREATOR_HOST_OS: Raw<4> = Raw(36);
pub(super) const ORIGINAL_SIZE: Be64 = Be64(40);
pub(super) const CURRENT_SIZE: Be64 = Be64(48);
pub(super) const CYLINDERS: Be16 = Be16(56);
pub(super) const HEADS: U8 = U8(58);
pub(super) const SECTORS_PER_TRACK: U8 = U8(59);
pub(super) const DISK_TYPE: Be32 = Be32(60);
pub(super) const CHECKSUM: Be32 = Be32(64);
pub(super) const UNIQUE_ID: Raw<16> = Raw(68);

/// A bit of [`FEATURES`] that is always set.
pub(super) const RESERVED: u32 = 2;
pub(super) const VERSION_1: u32 = 0x0001_0000;
/// [`DATA_OFFSET`] of a fixed disk.
pub(super) const NO_DATA_OFFSET: u64 = u64::MAX;
/// Values of [`DISK_TYPE`].
pub(super) const FIXED: u32 = 2;
pub(super) const DYNAMIC: u32 = 3;
pub(super) const DIFFERENCING: u32 = 4;

/// The header of a dynamic disk.
pub(super) mod dynamic {
    use crate::bytes::{Be32, Be64, Raw};

    pub const COOKIE: Raw<8> = Raw(0);
    pub const COOKIE_VALUE: &[u8; 8] = b"cxsparse";
    pub const TABLE_OFFSET: Be64 = Be64(16);
    pub const MAX_TABLE_ENTRIES: Be32 = Be32(28);
    pub const BLOCK_SIZE: Be32 = Be32(32);
    pub const CHECKSUM: Be32 = Be32(36);
    /// Its length in bytes.
    pub const LEN: usize = 1024;
    /// An entry of a block that is not stored.
    pub const UNUSED: u32 = u32::MAX;
}

/// The sum of a footer or header whose own sum is at `field`: the ones' complement of the sum of all its other bytes.
pub(super) fn checksum(bytes: &[u8], field: Be32) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let own = bytes.get(field.0..field.0 + Be32::LEN).unwrap_or_default();
    !(sum(bytes) - sum(own))
}
