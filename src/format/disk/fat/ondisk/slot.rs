//! Sectors, and the slots of a directory: their fields, attributes and limits.
//!
//! A slot holds a short name with what is known of it, or a part of a long name. The parts of a long name come last
//! first, directly before the short one. After the name comes a zero, then ones. Source: fatgen103; names are its own.

use crate::bytes::{Le16, Le32, Raw, U8};

/// Bytes of a sector of the volumes that are written here.
pub(crate) const SECTOR: u64 = 512;
/// Bytes of a slot of a directory.
pub(crate) const SLOT: u64 = 32;
/// The same, as a length in memory.
pub(crate) const SLOT_LEN: usize = 32;
/// The longest directory that Linux reads, in bytes (`FAT_MAX_DIR_SIZE`).
pub(crate) const MAX_DIRECTORY: u64 = 65_536 * SLOT;
/// The deepest directory: far below what the limits of paths allow elsewhere, so that recursion is bounded.
pub(crate) const MAX_DEPTH: usize = 128;

/// Attribute of a slot: the volume label.
pub(crate) const ATTR_VOLUME_ID: u8 = 0x08;
/// Attribute of a slot: a directory.
pub(crate) const ATTR_DIRECTORY: u8 = 0x10;
/// Attribute of a slot: a file that was changed since a backup, which every new file is.
pub(crate) const ATTR_ARCHIVE: u8 = 0x20;
/// Attributes of a slot with a part of a long name.
pub(crate) const ATTR_LONG_NAME: u8 = 0x0f;
/// Bits of [`DIR_NT_RES`]: the name, the extension is shown in lower case.
pub(crate) const LOWER_BASE: u8 = 0x08;
pub(crate) const LOWER_EXTENSION: u8 = 0x10;

/// The first byte of a slot behind the last one in use.
pub(crate) const END: u8 = 0;
/// The first byte of a slot that was deleted.
pub(crate) const DELETED: u8 = 0xe5;
/// What stands for [`DELETED`] where a name begins with it.
pub(crate) const KANJI_E5: u8 = 0x05;

pub(crate) const DIR_NAME: Raw<11> = Raw(0);
pub(crate) const DIR_ATTR: U8 = U8(11);
pub(crate) const DIR_NT_RES: U8 = U8(12);
pub(crate) const DIR_CRT_TIME: Le16 = Le16(14);
pub(crate) const DIR_CRT_DATE: Le16 = Le16(16);
pub(crate) const DIR_LST_ACC_DATE: Le16 = Le16(18);
pub(crate) const DIR_FST_CLUS_HI: Le16 = Le16(20);
pub(crate) const DIR_WRT_TIME: Le16 = Le16(22);
pub(crate) const DIR_WRT_DATE: Le16 = Le16(24);
pub(crate) const DIR_FST_CLUS_LO: Le16 = Le16(26);
pub(crate) const DIR_FILE_SIZE: Le32 = Le32(28);

/// UTF-16 units in a part of a long name.
pub(crate) const UNITS: usize = 13;
/// A bit of [`LDIR_ORD`]: the part is the end of the name and comes first.
pub(crate) const LAST_PART: u8 = 0x40;
/// The bits of it that say which part it is, from 1.
pub(crate) const PART_NUMBER: u8 = 0x1f;

pub(crate) const LDIR_ORD: U8 = U8(0);
pub(crate) const LDIR_ATTR: U8 = U8(11);
/// The checksum of the short name.
pub(crate) const LDIR_CHKSUM: U8 = U8(13);

/// The units of a part of a long name, in three places.
pub(crate) fn unit_fields() -> impl Iterator<Item = Le16> {
    (1..11).chain(14..26).chain(28..32).step_by(Le16::LEN).map(Le16)
}

/// The checksum of a short name that ties the slots of a long name to it.
pub(crate) fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}
