//! What lies where in a VHDX; all numbers are little-endian.
//!
//! ```text
//! 0         identifier
//! 64 KiB    header, and its copy at 128 KiB: the one with the greater sequence number counts
//! 192 KiB   region table, and its copy at 256 KiB
//! anywhere  log, metadata, block allocation table: 64 bits for each block, and one more for each bitmap of sectors
//! ```

use crate::bytes::Le32;

pub(in crate::format::disk::container) const FILE_MAGIC: &[u8; 8] = b"vhdxfile";
pub(super) const MIB: u64 = 1 << 20;
/// Sectors that one bitmap covers.
pub(super) const BITMAP_SECTORS: u64 = 1 << 23;

/// Headers.
pub(super) mod header {
    use crate::bytes::{Le16, Le32, Le64, Raw};

    pub const AT: [u64; 2] = [64 << 10, 128 << 10];
    pub const MAGIC: &[u8; 4] = b"head";
    pub const LEN: usize = 4096;
    pub const CHECKSUM: Le32 = Le32(4);
    pub const SEQUENCE_NUMBER: Le64 = Le64(8);
    pub const FILE_WRITE_GUID: Raw<16> = Raw(16);
    pub const DATA_WRITE_GUID: Raw<16> = Raw(32);
    pub const LOG_GUID: Raw<16> = Raw(48);
    pub const VERSION: Le16 = Le16(66);
    pub const LOG_LENGTH: Le32 = Le32(68);
    pub const LOG_OFFSET: Le64 = Le64(72);
}

/// Region tables.
pub(super) mod regions {
    use crate::bytes::{Le32, Le64, Raw};

    pub const AT: [u64; 2] = [192 << 10, 256 << 10];
    pub const MAGIC: &[u8; 4] = b"regi";
    pub const LEN: usize = 64 << 10;
    pub const CHECKSUM: Le32 = Le32(4);
    pub const ENTRY_COUNT: Le32 = Le32(8);
    /// The first entry, the length of one, and how many there can be.
    pub const ENTRIES: usize = 16;
    pub const ENTRY_LEN: usize = 32;
    pub const MAX_ENTRIES: u32 = 2047;
    pub const GUID: Raw<16> = Raw(0);
    pub const OFFSET: Le64 = Le64(16);
    pub const LENGTH: Le32 = Le32(24);
    pub const REQUIRED: Le32 = Le32(28);
    pub const BAT: [u8; 16] = crate::format::disk::container::vhdx::ondisk::guid(
        0x2dc2_7766,
        0xf623,
        0x4200,
        *b"\x9d\x64\x11\x5e\x9b\xfd\x4a\x08",
    );
    pub const METADATA: [u8; 16] = crate::format::disk::container::vhdx::ondisk::guid(
        0x8b7c_a206,
        0x4790,
        0x4b9a,
        *b"\xb8\xfe\x57\x5f\x05\x0f\x88\x6e",
    );
}

/// Metadata.
pub(super) mod metadata {
    use crate::bytes::{Le16, Le32, Raw};
    use crate::format::disk::container::vhdx::ondisk::guid;

    pub const MAGIC: &[u8; 8] = b"metadata";
    /// Bytes of the table, behind which the items lie.
    pub const TABLE_LEN: usize = 64 << 10;
    pub const ENTRY_COUNT: Le16 = Le16(10);
    pub const ENTRIES: usize = 32;
    pub const ENTRY_LEN: usize = 32;
    pub const MAX_ENTRIES: u16 = 2047;
    pub const ITEM: Raw<16> = Raw(0);
    pub const OFFSET: Le32 = Le32(16);
    pub const LENGTH: Le32 = Le32(20);
    pub const FLAGS: Le32 = Le32(24);
    /// Bits of [`FLAGS`].
    pub const IS_VIRTUAL_DISK: u32 = 2;
    pub const IS_REQUIRED: u32 = 4;

    pub const FILE_PARAMETERS: [u8; 16] =
        guid(0xcaa1_6737, 0xfa36, 0x4d43, *b"\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b");
    pub const VIRTUAL_DISK_SIZE: [u8; 16] =
        guid(0x2fa5_4224, 0xcd1b, 0x4876, *b"\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8");
    pub const PAGE_83: [u8; 16] = guid(0xbeca_12ab, 0xb2e6, 0x4523, *b"\x93\xef\xc3\x09\xe0\x00\xc7\x46");
    pub const LOGICAL_SECTOR_SIZE: [u8; 16] =
        guid(0x8141_bf1d, 0xa96f, 0x4709, *b"\xba\x47\xf2\x33\xa8\xfa\xab\x5f");
    pub const PHYSICAL_SECTOR_SIZE: [u8; 16] =
        guid(0xcda3_48c7, 0x445d, 0x4471, *b"\x9c\xc9\xe9\x88\x52\x51\xc5\x56");
    pub const PARENT_LOCATOR: [u8; 16] =
        guid(0xa8d3_5f2d, 0xb30b, 0x454d, *b"\xab\xf7\xd3\xd8\x48\x34\xab\x0c");

    /// A bit of the second word of the file parameters.
    pub const HAS_PARENT: u32 = 2;
}

/// Entries of the block allocation table: a state in the low bits, and where the block lies.
pub(super) mod bat {
    pub const STATE: u64 = 7;
    pub const OFFSET: u64 = 0xffff_ffff_fff0_0000;
    /// From here on a state says that there is something in the file.
    pub const NOT_PRESENT_TO_UNMAPPED: std::ops::RangeInclusive<u64> = 0..=3;
    pub const FULLY_PRESENT: u64 = 6;
}

/// A GUID as it lies on disk.
const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> [u8; 16] {
    let ([a, e, f, g], [b, h], [c, i]) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    let [j, k, l, m, n, o, p, q] = d;
    [a, e, f, g, b, h, c, i, j, k, l, m, n, o, p, q]
}

/// CRC-32C of a structure, its own field counted as zeros.
pub(super) fn checksum(bytes: &[u8], field: Le32) -> u32 {
    let (before, rest) = bytes.split_at(field.0);
    let sum = crc32c::crc32c_append(crc32c::crc32c(before), &[0; Le32::LEN]);
    crc32c::crc32c_append(sum, rest.get(Le32::LEN..).unwrap_or_default())
}

/// How many blocks of the disk one bitmap covers.
pub(super) const fn ratio(sector: u64, block: u64) -> u64 {
    BITMAP_SECTORS * sector / block
}
