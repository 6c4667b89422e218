//! The header of a GPT and its entries. Numbers are little-endian.
//!
//! ```text
//! GPT    protective MBR | header | entries | ... partitions ... | entries | header
//! ```
//! Source: UEFI Specification 2.10, 5.3; names are its own.

use crate::bytes::{Le32, Le64, Raw};
use crate::ints;
use uuid::Uuid;

/// What a header begins with.
pub(crate) const MAGIC: &[u8; 8] = b"EFI PART";
/// What [`REVISION`] says: 1.0.
pub(crate) const REVISION_1_0: u32 = 0x0001_0000;
/// The bytes of a header that mean something.
pub(crate) const HEADER_LEN: u32 = 92;
/// Bytes of an entry as it is written, and the least that one has.
pub(crate) const ENTRY_LEN: u32 = 128;
/// Entries that are written.
pub(crate) const ENTRIES: u32 = 128;
/// Where the primary header is.
pub(crate) const PRIMARY_LBA: u64 = 1;

pub(crate) const SIGNATURE: Raw<8> = Raw(0);
pub(crate) const REVISION: Le32 = Le32(8);
pub(crate) const HEADER_SIZE: Le32 = Le32(12);
/// Over the header, with itself as zero.
pub(crate) const HEADER_CRC32: Le32 = Le32(16);
pub(crate) const MY_LBA: Le64 = Le64(24);
/// Where the other copy is.
pub(crate) const ALTERNATE_LBA: Le64 = Le64(32);
pub(crate) const FIRST_USABLE_LBA: Le64 = Le64(40);
pub(crate) const LAST_USABLE_LBA: Le64 = Le64(48);
pub(crate) const DISK_GUID: Raw<16> = Raw(56);
pub(crate) const PARTITION_ENTRY_LBA: Le64 = Le64(72);
pub(crate) const NUMBER_OF_PARTITION_ENTRIES: Le32 = Le32(80);
pub(crate) const SIZE_OF_PARTITION_ENTRY: Le32 = Le32(84);
pub(crate) const PARTITION_ENTRY_ARRAY_CRC32: Le32 = Le32(88);

/// Fields of an entry, from its start.
pub(crate) const PARTITION_TYPE_GUID: Raw<16> = Raw(0);
pub(crate) const UNIQUE_PARTITION_GUID: Raw<16> = Raw(16);
pub(crate) const STARTING_LBA: Le64 = Le64(32);
/// The last sector, not the one behind it.
pub(crate) const ENDING_LBA: Le64 = Le64(40);
pub(crate) const ATTRIBUTES: Le64 = Le64(48);
/// UTF-16, little-endian, padded with zeros.
pub(crate) const PARTITION_NAME: Raw<72> = Raw(56);
/// Units of a name.
pub(crate) const NAME_UNITS: usize = PARTITION_NAME.len() / 2;

/// A GUID: its first three parts are little-endian.
pub(crate) fn guid(field: Raw<16>, bytes: &[u8]) -> Uuid {
    Uuid::from_bytes_le(field.get(bytes))
}

/// The checksum that belongs to a header of `len` bytes; `None` where there are fewer, or no checksum in them.
pub(crate) fn sum(header: &[u8], len: u32) -> Option<u32> {
    let mut covered = header.get(..ints::to_usize(len.into())).filter(|_| len >= HEADER_LEN)?.to_vec();
    HEADER_CRC32.put(&mut covered, 0);
    Some(crc32fast::hash(&covered))
}

/// Puts its checksum into a header as it is made here.
pub(crate) fn sign(header: &mut [u8]) {
    // cannot fail: a header is a sector
    let sum = sum(header, HEADER_LEN).unwrap_or(0);
    HEADER_CRC32.put(header, sum);
}

/// The entries of a primary header whose sums are right, out of the start of a disk.
pub(crate) fn sound_entries(header: &[u8], start: &[u8], sector: usize) -> Option<Vec<u8>> {
    let is_ours = SIGNATURE.get(header) == *MAGIC
        && HEADER_SIZE.get(header) == HEADER_LEN
        && sum(header, HEADER_LEN) == Some(HEADER_CRC32.get(header))
        && MY_LBA.get(header) == PRIMARY_LBA;
    if !is_ours {
        return None;
    }
    let (count, size) = (NUMBER_OF_PARTITION_ENTRIES.get(header), SIZE_OF_PARTITION_ENTRY.get(header));
    let at = ints::to_usize(PARTITION_ENTRY_LBA.get(header)).checked_mul(sector)?;
    let len = ints::to_usize(u64::from(count).checked_mul(size.into())?);
    let entries = start.get(at..at.checked_add(len)?)?;
    let is_sound = size >= ENTRY_LEN
        && size.is_power_of_two()
        && crc32fast::hash(entries) == PARTITION_ENTRY_ARRAY_CRC32.get(header);
    is_sound.then(|| entries.to_vec())
}
