//! The journal (jbd2). All numbers are big-endian.
//!
//! ```text
//! header      magic | block type | sequence
//! superblock  header | fields below                                       block 0 of the journal
//! descriptor  header | tags | with checksums: checksum u32 at the end of the block
//! tag, v3     block u32 | flags u32 | block high u32 | checksum u32 | uuid [16] unless it is that of the last tag
//! tag, older  block u32 | checksum u16 | flags u16 | 64 bits: block high u32 | checksum v2: u16 | uuid [16], likewise
//! revoke      header | bytes in use u32 | blocks of 32 or 64 bits | with checksums: checksum u32 at the end
//! commit      header | fields below
//! ```
//! Source: kernel `include/linux/jbd2.h`, `fs/jbd2/recovery.c`; names are those of the kernel.

use super::checksum;
use crate::bytes::{Be16, Be32, Raw};

/// What [`H_MAGIC`] says (`JBD2_MAGIC_NUMBER`).
pub const MAGIC: u32 = 0xc03b_3998;
/// Bytes of a header.
pub const HEADER: usize = 12;
/// Bytes of the superblock that its checksum is over.
pub const SUPERBLOCK: usize = 1024;

/// What [`H_BLOCKTYPE`] says (`JBD2_*_BLOCK`).
pub const DESCRIPTOR_BLOCK: u32 = 1;
pub const COMMIT_BLOCK: u32 = 2;
pub const SUPERBLOCK_V1: u32 = 3;
pub const SUPERBLOCK_V2: u32 = 4;
pub const REVOKE_BLOCK: u32 = 5;

/// A bit of [`S_FEATURE_COMPAT`]: transactions have checksums of the first kind (`JBD2_FEATURE_COMPAT_CHECKSUM`).
pub const COMPAT_CHECKSUM: u32 = 0x1;

/// Bits of [`S_FEATURE_INCOMPAT`] (`JBD2_FEATURE_INCOMPAT_*`).
pub const REVOKE: u32 = 0x1;
pub const B64BIT: u32 = 0x2;
pub const ASYNC_COMMIT: u32 = 0x4;
pub const CSUM_V2: u32 = 0x8;
pub const CSUM_V3: u32 = 0x10;
pub const FAST_COMMIT: u32 = 0x20;

/// Flags of a tag (`JBD2_FLAG_*`).
pub const ESCAPE: u32 = 0x1;
pub const SAME_UUID: u32 = 0x2;
pub const LAST_TAG: u32 = 0x8;

/// Blocks at the end for fast commits, where [`S_NUM_FC_BLKS`] says nothing (`JBD2_DEFAULT_FAST_COMMIT_BLOCKS`).
pub const DEFAULT_FC_BLKS: u32 = 256;

pub const H_MAGIC: Be32 = Be32(0x0);
pub const H_BLOCKTYPE: Be32 = Be32(0x4);
pub const H_SEQUENCE: Be32 = Be32(0x8);
/// The checksum of a commit (the first of `h_chksum`).
pub const H_CHKSUM: Be32 = Be32(0x10);
/// Bytes of a revocation that are in use, its header included.
pub const R_COUNT: Be32 = Be32(0xc);

pub const S_BLOCKSIZE: Be32 = Be32(0x0c);
pub const S_MAXLEN: Be32 = Be32(0x10);
/// The first block of the log, counted in the journal.
pub const S_FIRST: Be32 = Be32(0x14);
/// The first commit that is expected.
pub const S_SEQUENCE: Be32 = Be32(0x18);
/// Where the log begins, counted in the journal; 0 for an empty one.
pub const S_START: Be32 = Be32(0x1c);
pub const S_FEATURE_COMPAT: Be32 = Be32(0x24);
pub const S_FEATURE_INCOMPAT: Be32 = Be32(0x28);
pub const S_UUID: Raw<16> = Raw(0x30);
pub const S_NR_USERS: Be32 = Be32(0x40);
pub const S_NUM_FC_BLKS: Be32 = Be32(0x54);
pub const S_CHECKSUM: Be32 = Be32(0xfc);

/// Fields of a tag, from its start; with checksums of version 3 flags and checksum have places of their own.
pub const T_BLOCKNR: Be32 = Be32(0);
pub const T_BLOCKNR_HIGH: Be32 = Be32(8);
pub const T_CHECKSUM: Be16 = Be16(4);
pub const T_FLAGS: Be16 = Be16(6);
pub const T3_FLAGS: Be32 = Be32(4);
pub const T3_CHECKSUM: Be32 = Be32(12);

/// The seed of all checksums but the superblock's.
pub fn seed(superblock: &[u8]) -> u32 {
    checksum::update(u32::MAX, &S_UUID.get(superblock))
}

/// The checksum that belongs to bytes whose checksum is in the field `own`, which counts as zero.
pub fn sum(seed: u32, bytes: &[u8], own: Be32) -> u32 {
    let sum = checksum::update(checksum::update(seed, &bytes[..own.0]), &[0; Be32::LEN]);
    checksum::update(sum, &bytes[own.0 + Be32::LEN..])
}

/// The checksum of the copy of a block in a transaction.
pub fn copy_sum(seed: u32, sequence: u32, copy: &[u8]) -> u32 {
    checksum::update(checksum::update(seed, &sequence.to_be_bytes()), copy)
}
