//! What lies where in a VDI; all numbers are little-endian.
//!
//! ```text
//! 0                 text, header
//! offset of blocks  map: 32 bits for each block of the disk
//! offset of data    blocks
//! ```

use crate::bytes::{Le32, Le64, Raw};

pub(in crate::format::disk::container) const SIGNATURE: Le32 = Le32(64);
pub(in crate::format::disk::container) const SIGNATURE_VALUE: u32 = 0xbeda_107f;

pub(super) const TEXT: Raw<64> = Raw(0);
pub(super) const VERSION: Le32 = Le32(68);
pub(super) const HEADER_SIZE: Le32 = Le32(72);
pub(super) const IMAGE_TYPE: Le32 = Le32(76);
pub(super) const OFFSET_BLOCKS: Le32 = Le32(340);
pub(super) const OFFSET_DATA: Le32 = Le32(344);
pub(super) const SECTOR_SIZE: Le32 = Le32(360);
pub(super) const DISK_SIZE: Le64 = Le64(368);
pub(super) const BLOCK_SIZE: Le32 = Le32(376);
pub(super) const BLOCK_EXTRA: Le32 = Le32(380);
pub(super) const BLOCKS_IN_IMAGE: Le32 = Le32(384);
pub(super) const BLOCKS_ALLOCATED: Le32 = Le32(388);
pub(super) const UUID_IMAGE: Raw<16> = Raw(392);
pub(super) const UUID_LAST_SNAP: Raw<16> = Raw(408);
pub(super) const UUID_LINK: Raw<16> = Raw(424);
pub(super) const UUID_PARENT: Raw<16> = Raw(440);
/// The sector size of the second geometry, which follows 12 bytes of cylinders, heads and sectors.
pub(super) const LCHS_SECTOR_SIZE: Le32 = Le32(468);

/// Bytes of the header with the text before it.
pub(super) const LEN: usize = 512;
/// What [`HEADER_SIZE`] is: bytes from [`HEADER_SIZE`] itself to the end of the second geometry.
pub(super) const HEADER_SIZE_VALUE: u32 = 0x190;
pub(super) const VERSION_1_1: u32 = 0x0001_0001;
/// Values of [`IMAGE_TYPE`].
pub(super) const DYNAMIC: u32 = 1;
pub(super) const FIXED: u32 = 2;
/// The least value of an entry of the map that is no block: zeros, or never written.
pub(super) const NO_BLOCK: u32 = 0xffff_fffe;
pub(super) const FREE: u32 = 0xffff_ffff;
/// The length of a block that everybody writes, in bytes; QEMU reads no other.
pub(super) const BLOCK: u64 = 1 << 20;
