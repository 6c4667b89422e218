//! The first sector of a disk with an MBR. Numbers are little-endian.
//!
//! ```text
//! MBR    440 bytes of code | disk id u32 | 2 bytes | 4 entries of 16 bytes | 55 aa
//! entry  active u8 | CHS 3 | type u8 | CHS 3 | first LBA u32 | sectors u32
//! ```
//! Source: UEFI Specification 2.10, 5.2.

use crate::bytes::{Le16, Le32, Raw, U8};
use crate::ints;

/// What [`SIGNATURE`] says.
pub(crate) const SIGNATURE_WORD: u16 = 0xaa55;
/// What [`BOOT_INDICATOR`] says of the active partition.
pub(crate) const ACTIVE: u8 = 0x80;
/// The type of the entry in front of a GPT.
pub(crate) const PROTECTIVE: u8 = 0xee;
/// Bytes of an entry.
pub(crate) const ENTRY_LEN: usize = 16;
/// Partitions of an MBR without logical ones.
pub(crate) const PRIMARIES: u32 = 4;
/// Where the entries begin.
const ENTRIES: usize = 446;

pub(crate) const DISK_ID: Le32 = Le32(440);
pub(crate) const SIGNATURE: Le16 = Le16(510);

/// Fields of an entry, from its start.
pub(crate) const BOOT_INDICATOR: U8 = U8(0);
pub(crate) const STARTING_CHS: Raw<3> = Raw(1);
pub(crate) const OS_TYPE: U8 = U8(4);
pub(crate) const ENDING_CHS: Raw<3> = Raw(5);
pub(crate) const STARTING_LBA: Le32 = Le32(8);
pub(crate) const SIZE_IN_LBA: Le32 = Le32(12);

/// Heads and sectors per track of the disk that sfdisk imagines.
const HEADS: u64 = 255;
const PER_TRACK: u64 = 63;
/// The last cylinder that CHS can say.
const LAST_CYLINDER: u64 = 1023;
/// CHS of what is beyond: the last head, sector and cylinder.
const CHS_BEYOND: [u8; 3] = [0xfe, 0xff, 0xff];
/// CHS of sector 1, as in every protective MBR: it ignores the geometry.
pub(crate) const CHS_FIRST: [u8; 3] = [0x00, 0x02, 0x00];

/// Whether a type says that the partition only holds logical ones.
pub(crate) const fn is_extended(kind: u8) -> bool {
    matches!(kind, 0x05 | 0x0f | 0x85)
}

/// The four entries; none where the sector is too short.
pub(crate) fn entries(sector: &[u8]) -> impl Iterator<Item = &[u8; ENTRY_LEN]> + Clone {
    sector.get(ENTRIES..SIGNATURE.0).unwrap_or_default().as_chunks().0.iter()
}

/// The four entries, to change.
pub(crate) fn entries_mut(sector: &mut [u8]) -> impl Iterator<Item = &mut [u8; ENTRY_LEN]> {
    sector.get_mut(ENTRIES..SIGNATURE.0).unwrap_or_default().as_chunks_mut().0.iter_mut()
}

/// The entry of that number, from 1, to change.
pub(crate) fn entry_mut(sector: &mut [u8], number: u32) -> Option<&mut [u8; ENTRY_LEN]> {
    entries_mut(sector).nth(ints::to_usize(u64::from(number.checked_sub(1)?)))
}

/// A sector as head, sector, cylinder; the two high bits of the cylinder are in the byte of the sector.
pub(crate) fn chs(lba: u64) -> [u8; 3] {
    let (cylinder, head, sector) = (lba / (HEADS * PER_TRACK), lba / PER_TRACK % HEADS, lba % PER_TRACK + 1);
    let low = |n: u64| n.to_le_bytes()[0];
    if cylinder > LAST_CYLINDER {
        return CHS_BEYOND;
    }
    [low(head), low(sector | ((cylinder >> 8) << 6)), low(cylinder)]
}

/// Where a protective entry ends. UEFI 5.2.3: all ones where CHS cannot say the last sector.
pub(crate) fn protective_end(last: u64) -> [u8; 3] {
    if last / (HEADS * PER_TRACK) > LAST_CYLINDER { [0xff; 3] } else { chs(last) }
}
