//! Moves the backup of a GPT to the end of a larger disk.
//!
//! The table is changed in place and not written anew: boot code, a hybrid MBR, more than 128 entries, attributes and
//! the order of entries stay as they are. Fields: UEFI Specification 2.10, 5.3.2.

use super::gpt_header::{
    self, ALTERNATE_LBA, ENDING_LBA, LAST_USABLE_LBA, MY_LBA, PARTITION_ENTRY_ARRAY_CRC32,
    PARTITION_ENTRY_LBA, PRIMARY_LBA, SIZE_OF_PARTITION_ENTRY,
};
use super::mbr_sector::{self, PROTECTIVE, protective_end};
use super::table::SectorSize;
use crate::bytes::Le64;
use crate::ints;

/// What has to be written to complete the move; the start of the disk is changed already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocated {
    /// Where the backup goes: entries and header, up to the end of the last whole sector.
    pub offset: u64,
    /// Its bytes: entries, then the header.
    pub backup: Vec<u8>,
    /// Where the backup was, as offset and length: behind all partitions, to be cleared.
    pub stale: Option<(u64, u64)>,
}

/// Changes the table at the start of a disk so that its backup is at the end of `disk_len` bytes.
///
/// `None`, and nothing changed, when there is no sound GPT within `start`, when its backup is at the end already, or
/// when the disk is too short.
pub fn relocate(start: &mut [u8], disk_len: u64, sector: SectorSize) -> Option<Relocated> {
    let bytes = sector.bytes();
    let at = ints::to_usize(bytes);
    let last = (disk_len / bytes).checked_sub(1)?;
    let header = start.get(at..at + at)?.to_vec();
    let entries = gpt_header::sound_entries(&header, start, at)?;
    let (old_last, last_usable) = (ALTERNATE_LBA.get(&header), LAST_USABLE_LBA.get(&header));
    let sectors = ints::to_u64(entries.len()).div_ceil(bytes);
    let array = last.checked_sub(sectors)?;
    let used = last_partition(&entries, &header)?;
    if old_last == last || used >= array {
        return None;
    }
    let mut backup = entries;
    backup.resize(ints::to_usize(sectors * bytes), 0);
    let mut own = header.clone();
    put(
        &mut own,
        &[
            (MY_LBA, last),
            (ALTERNATE_LBA, PRIMARY_LBA),
            (LAST_USABLE_LBA, array - 1),
            (PARTITION_ENTRY_LBA, array),
        ],
    );
    backup.extend(&own);
    let mut primary = header;
    put(&mut primary, &[(ALTERNATE_LBA, last), (LAST_USABLE_LBA, array - 1)]);
    start[at..at + at].copy_from_slice(&primary);
    protect(start, last);
    let stale = stale(last_usable, old_last, used, sectors + 1);
    // As far as the new backup, where the disk is only a little longer.
    let stale = stale.map(|(from, to)| (from, to.min(array))).filter(|(from, to)| from < to);
    let stale = stale.map(|(from, to)| (from * bytes, (to - from) * bytes));
    Some(Relocated { offset: array * bytes, backup, stale })
}

/// The sectors of the old backup, if they are where backups are and behind all partitions.
fn stale(last_usable: u64, old_last: u64, used: u64, sectors: u64) -> Option<(u64, u64)> {
    let (from, to) = (last_usable.checked_add(1)?, old_last.checked_add(1)?);
    (from > used && to.checked_sub(from)? <= sectors).then_some((from, to))
}

/// The last sector of the last partition.
fn last_partition(entries: &[u8], header: &[u8]) -> Option<u64> {
    let size = ints::to_usize(u64::from(SIZE_OF_PARTITION_ENTRY.get(header)));
    let used = entries.chunks_exact(size).filter(|entry| entry[..16].iter().any(|byte| *byte != 0));
    Some(used.map(|entry| ENDING_LBA.get(entry)).max().unwrap_or(0))
}

/// Puts entries of the same length back, with their sum and that of the header at `at`.
pub(crate) fn store_entries(start: &mut [u8], at: usize, entries: &[u8]) {
    let place = ints::to_usize(PARTITION_ENTRY_LBA.get(&start[at..])) * at;
    start[place..place + entries.len()].copy_from_slice(entries);
    let header = &mut start[at..at * 2];
    PARTITION_ENTRY_ARRAY_CRC32.put(header, crc32fast::hash(entries));
    put(header, &[]);
}

/// Sets fields of a header and its sum.
fn put(header: &mut [u8], fields: &[(Le64, u64)]) {
    for (field, value) in fields {
        field.put(header, *value);
    }
    gpt_header::sign(header);
}

/// Makes a protective entry cover the disk. In a hybrid MBR it covers less, and is left alone.
fn protect(start: &mut [u8], last: u64) {
    let mut used: Vec<_> =
        mbr_sector::entries_mut(start).filter(|entry| mbr_sector::OS_TYPE.get(&entry[..]) != 0).collect();
    if let [entry] = &mut used[..]
        && mbr_sector::OS_TYPE.get(&entry[..]) == PROTECTIVE
        && mbr_sector::STARTING_LBA.get(&entry[..]) == 1
    {
        mbr_sector::ENDING_CHS.put(&mut entry[..], &protective_end(last));
        mbr_sector::SIZE_IN_LBA.put(&mut entry[..], u32::try_from(last).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::disk::partition_table::{Gpt, GptPartition, Table, encode, read};
    use proptest::prelude::{any, proptest};
    use uuid::Uuid;

    fn image(len: u64, sector: SectorSize) -> Vec<u8> {
        let partition = GptPartition {
            number: 1,
            start: 100,
            sectors: 200,
            type_guid: Uuid::from_u128(1),
            unique_guid: Uuid::from_u128(2),
            name: "root".into(),
            attributes: 4,
        };
        let table = Table::Gpt(Gpt { disk_guid: Uuid::from_u128(3), partitions: vec![partition] });
        let mut image = vec![0; ints::to_usize(len)];
        for (offset, bytes) in encode(&table, len, sector).unwrap() {
            image[ints::to_usize(offset)..][..bytes.len()].copy_from_slice(&bytes);
        }
        image
    }

    fn moved(image: &[u8], len: u64, sector: SectorSize) -> Option<Vec<u8>> {
        let mut disk = image.to_vec();
        disk.resize(ints::to_usize(len), 0);
        let start = disk.len().min(1 << 20);
        let Relocated { offset, backup, stale } = relocate(&mut disk[..start], len, sector)?;
        if let Some((from, len)) = stale {
            disk[ints::to_usize(from)..][..ints::to_usize(len)].fill(0);
        }
        disk[ints::to_usize(offset)..][..backup.len()].copy_from_slice(&backup);
        Some(disk)
    }

    #[test]
    fn a_moved_table_is_what_the_writer_makes_for_the_longer_disk() {
        for (sector, from) in [(SectorSize::S512, 1 << 20), (SectorSize::S4096, 4 << 20)] {
            let image = image(from, sector);
            for to in [from + sector.bytes(), from + 33 * 512, from + (3 << 20), 9_999_360] {
                let disk = moved(&image, to, sector).unwrap();
                let expected = self::image(to / sector.bytes() * sector.bytes(), sector);
                let head = 4 * ints::to_usize(sector.bytes()) + (16 << 10);
                assert!(disk[..head] == expected[..head], "{sector:?} {to}");
                let reading = read(&&disk[..]).unwrap();
                assert!(reading.problems.is_empty(), "{sector:?} {to}: {:?}", reading.problems);
                assert_eq!(moved(&disk, to, sector), None, "once is enough");
                if to > from + (1 << 20) {
                    let magics = disk.windows(8).filter(|window| *window == b"EFI PART").count();
                    assert_eq!(magics, 2, "the old backup is gone");
                }
            }
        }
    }

    #[test]
    fn what_is_no_sound_gpt_or_does_not_fit_stays_as_it_is() {
        let image = image(1 << 20, SectorSize::S512);
        for at in [512, 512 + 60, 512 + 16, 1024, 1024 + 56] {
            let mut broken = image.clone();
            broken[at] ^= 1;
            let before = broken.clone();
            assert_eq!(relocate(&mut broken, 2 << 20, SectorSize::S512), None, "{at}");
            assert!(broken == before);
        }
        assert_eq!(moved(&image, 2 << 20, SectorSize::S4096), None);
        let mut start = image[..1024].to_vec();
        assert_eq!(relocate(&mut start, 2 << 20, SectorSize::S512), None, "entries are not there");
        let mut start = image.clone();
        assert_eq!(relocate(&mut start, 100 << 9, SectorSize::S512), None, "partitions do not fit");
    }

    proptest! {
        #[test]
        fn any_start_is_taken_without_panic(mut start in proptest::collection::vec(any::<u8>(), 0..3000), len in any::<u64>()) {
            if start.len() > 520 {
                start[512..520].copy_from_slice(b"EFI PART");
            }
            relocate(&mut start, len, SectorSize::S512);
        }
    }
}
