//! Tables as bytes.

use super::error::Error;
use super::gpt_header::{self, ENTRIES, HEADER_LEN, MAGIC, NAME_UNITS, PRIMARY_LBA};
use super::mbr_sector::{self, ACTIVE, CHS_FIRST, PRIMARIES, PROTECTIVE, chs, is_extended, protective_end};
use super::place::Place;
use super::table::{Gpt, GptPartition, Mbr, MbrPartition, SectorSize, Table};
use crate::ints;
use std::collections::BTreeSet;

/// Bytes of an entry of a GPT.
const ENTRY_LEN: usize = ints::to_usize(gpt_header::ENTRY_LEN as u64);

/// Every range of the disk that a table takes, in ascending order: whole sectors. The rest of a disk that is not a
/// whole sector stays unused.
pub fn encode(table: &Table, disk_len: u64, sector: SectorSize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    match table {
        Table::Mbr(mbr) => Ok(vec![(0, encode_mbr(mbr, disk_len, sector)?)]),
        Table::Gpt(gpt) => encode_gpt(gpt, disk_len, sector),
    }
}

/// Checks numbers and places.
fn ensure_places(places: impl Iterator<Item = Place>, most: u32, first: u64, end: u64) -> Result<(), Error> {
    let (mut seen, mut numbers) = (Vec::new(), BTreeSet::new());
    for place in places {
        let Place { number, start, sectors } = place;
        if !(1..=most).contains(&number) || !numbers.insert(number) {
            return Err(Error::Number { number, most });
        }
        let last = place.last();
        if sectors == 0 || start < first || last > end || last == u64::MAX {
            return Err(Error::Outside { number, start, last, first, end });
        }
        seen.push((start, last, number));
    }
    seen.sort_unstable();
    match seen.windows(2).find(|pair| pair[0].1 >= pair[1].0) {
        Some(pair) => Err(Error::Overlap(pair[0].2, pair[1].2)),
        None => Ok(()),
    }
}

fn encode_mbr(mbr: &Mbr, disk_len: u64, sector: SectorSize) -> Result<Vec<u8>, Error> {
    let end = (disk_len / sector.bytes()).checked_sub(1).ok_or(Error::Disk(disk_len))?;
    ensure_places(mbr.partitions.iter().map(MbrPartition::place), PRIMARIES, 1, end)?;
    let mut out = vec![0; ints::to_usize(sector.bytes())];
    mbr_sector::DISK_ID.put(&mut out, mbr.disk_id);
    for partition in &mbr.partitions {
        if partition.kind == 0 || partition.kind == PROTECTIVE || is_extended(partition.kind) {
            return Err(Error::Type(partition.number));
        }
        if let Some(entry) = mbr_sector::entry_mut(&mut out, partition.number) {
            fill_mbr_entry(partition, entry)?;
        }
    }
    mbr_sector::SIGNATURE.put(&mut out, mbr_sector::SIGNATURE_WORD);
    Ok(out)
}

fn fill_mbr_entry(partition: &MbrPartition, entry: &mut [u8]) -> Result<(), Error> {
    let beyond = |_| Error::Beyond32(partition.number);
    let start = u32::try_from(partition.start).map_err(beyond)?;
    let sectors = u32::try_from(partition.sectors).map_err(beyond)?;
    mbr_sector::BOOT_INDICATOR.put(entry, if partition.active { ACTIVE } else { 0 });
    mbr_sector::OS_TYPE.put(entry, partition.kind);
    mbr_sector::STARTING_CHS.put(entry, &chs(partition.start));
    mbr_sector::ENDING_CHS.put(entry, &chs(partition.place().last()));
    mbr_sector::STARTING_LBA.put(entry, start);
    mbr_sector::SIZE_IN_LBA.put(entry, sectors);
    Ok(())
}

/// Where the parts of a GPT are, in sectors.
struct Places {
    /// Sectors of the entries.
    array: u64,
    /// The last sector of the disk.
    last: u64,
    first_usable: u64,
    last_usable: u64,
}

impl Places {
    fn on(disk_len: u64, sector: SectorSize) -> Result<Self, Error> {
        let array = u64::from(ENTRIES * gpt_header::ENTRY_LEN) / sector.bytes();
        let last = (disk_len / sector.bytes()).checked_sub(1);
        let last = last.filter(|last| *last >= 2 * array + 3).ok_or(Error::Disk(disk_len))?;
        Ok(Self { array, last, first_usable: 2 + array, last_usable: last - array - 1 })
    }
}

fn encode_gpt(gpt: &Gpt, disk_len: u64, sector: SectorSize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let places = Places::on(disk_len, sector)?;
    let partitions = gpt.partitions.iter().map(GptPartition::place);
    ensure_places(partitions, ENTRIES, places.first_usable, places.last_usable)?;
    let entries = gpt_entries(gpt)?;
    let entries_sum = crc32fast::hash(&entries);
    let header = |own, other, entries_at| {
        let mut header = vec![0; ints::to_usize(sector.bytes())];
        let copy = Copy { own, other, entries_at, entries_sum };
        fill_gpt_header(gpt, &places, copy, &mut header);
        header
    };
    let mut head = protective_mbr(places.last, sector);
    head.extend(header(PRIMARY_LBA, places.last, PRIMARY_LBA + 1));
    head.extend(&entries);
    let tail_at = places.last - places.array;
    let mut tail = entries.clone();
    tail.extend(header(places.last, PRIMARY_LBA, tail_at));
    Ok(vec![(0, head), (tail_at * sector.bytes(), tail)])
}

/// What a header says of its own copy.
struct Copy {
    /// The sector that it is in.
    own: u64,
    /// The sector of the other header.
    other: u64,
    /// The first sector of its entries.
    entries_at: u64,
    /// The CRC-32 of all entries.
    entries_sum: u32,
}

fn fill_gpt_header(gpt: &Gpt, places: &Places, copy: Copy, header: &mut [u8]) {
    gpt_header::SIGNATURE.put(header, MAGIC);
    gpt_header::REVISION.put(header, gpt_header::REVISION_1_0);
    gpt_header::HEADER_SIZE.put(header, HEADER_LEN);
    gpt_header::MY_LBA.put(header, copy.own);
    gpt_header::ALTERNATE_LBA.put(header, copy.other);
    gpt_header::FIRST_USABLE_LBA.put(header, places.first_usable);
    gpt_header::LAST_USABLE_LBA.put(header, places.last_usable);
    gpt_header::DISK_GUID.put(header, &gpt.disk_guid.to_bytes_le());
    gpt_header::PARTITION_ENTRY_LBA.put(header, copy.entries_at);
    gpt_header::NUMBER_OF_PARTITION_ENTRIES.put(header, ENTRIES);
    gpt_header::SIZE_OF_PARTITION_ENTRY.put(header, gpt_header::ENTRY_LEN);
    gpt_header::PARTITION_ENTRY_ARRAY_CRC32.put(header, copy.entries_sum);
    gpt_header::sign(header);
}

fn protective_mbr(last: u64, sector: SectorSize) -> Vec<u8> {
    let mut out = vec![0; ints::to_usize(sector.bytes())];
    let covered = u32::try_from(last).unwrap_or(u32::MAX);
    if let Some(entry) = mbr_sector::entry_mut(&mut out, 1) {
        mbr_sector::OS_TYPE.put(entry, PROTECTIVE);
        mbr_sector::STARTING_CHS.put(entry, &CHS_FIRST);
        mbr_sector::ENDING_CHS.put(entry, &protective_end(last));
        mbr_sector::STARTING_LBA.put(entry, 1);
        mbr_sector::SIZE_IN_LBA.put(entry, covered);
    }
    mbr_sector::SIGNATURE.put(&mut out, mbr_sector::SIGNATURE_WORD);
    out
}

fn gpt_entries(gpt: &Gpt) -> Result<Vec<u8>, Error> {
    let mut entries = vec![0; ints::to_usize(u64::from(ENTRIES)) * ENTRY_LEN];
    let mut guids = BTreeSet::new();
    for partition in &gpt.partitions {
        if partition.type_guid.is_nil() {
            return Err(Error::Type(partition.number));
        }
        if partition.unique_guid.is_nil() || !guids.insert(partition.unique_guid) {
            return Err(Error::Guid(partition.number));
        }
        let at = ENTRY_LEN * ints::to_usize(u64::from(partition.number) - 1);
        gpt_entry(partition, &mut entries[at..at + ENTRY_LEN])?;
    }
    Ok(entries)
}

fn gpt_entry(partition: &GptPartition, out: &mut [u8]) -> Result<(), Error> {
    let name: Vec<u16> = partition.name.encode_utf16().collect();
    if name.len() > NAME_UNITS || name.contains(&0) {
        return Err(Error::Name(partition.number));
    }
    gpt_header::PARTITION_TYPE_GUID.put(out, &partition.type_guid.to_bytes_le());
    gpt_header::UNIQUE_PARTITION_GUID.put(out, &partition.unique_guid.to_bytes_le());
    gpt_header::STARTING_LBA.put(out, partition.start);
    gpt_header::ENDING_LBA.put(out, partition.place().last());
    gpt_header::ATTRIBUTES.put(out, partition.attributes);
    let units = gpt_header::PARTITION_NAME.slice_mut(out).chunks_exact_mut(2);
    for (unit, bytes) in name.iter().zip(units) {
        bytes.copy_from_slice(&unit.to_le_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn partition(number: u32, start: u64, sectors: u64) -> MbrPartition {
        MbrPartition { number, start, sectors, kind: 0x83, active: false }
    }

    fn mbr(partitions: Vec<MbrPartition>, disk_len: u64) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        encode(&Table::Mbr(Mbr { disk_id: 0x2178_694e, partitions }), disk_len, SectorSize::S512)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn an_mbr_is_that_of_sfdisk() {
        // The table of NixOS's sd-image as sfdisk 2.38 writes it, from byte 440.
        let expected = "4e697821000000050501 0bd7130400400000 00f00000 80d71404 838b3d06 00300100 f86a0000";
        let firmware = MbrPartition { kind: 0x0b, ..partition(1, 16384, 61440) };
        let root = MbrPartition { active: true, ..partition(2, 77824, 27384) };
        let bytes = &mbr(vec![root, firmware], 105_208 * 512).unwrap()[0].1;
        assert_eq!(hex(&bytes[440..478]), expected.replace(' ', ""));
        assert!(bytes[478..510].iter().all(|b| *b == 0));
        assert_eq!((bytes.len(), &bytes[510..]), (512, &[0x55, 0xaa][..]));
    }

    #[test]
    fn chs_is_that_of_sfdisk() {
        // sfdisk 2.38 on a file of 3 TB: `start=S, size=N, type=83`.
        for (start, sectors, expected) in [
            (2048, 8192, "0020210083a222000008000000200000"),
            (16_450_559, 1, "00feffff83feffffff03fb0001000000"),
            (16_400_000, 1000, "00d9defc83e9d5fc803efa00e8030000"),
        ] {
            let bytes = &mbr(vec![partition(1, start, sectors)], 3 << 40).unwrap()[0].1;
            assert_eq!(hex(&bytes[446..462]), expected);
        }
    }

    #[test]
    fn what_an_mbr_cannot_say_is_refused() {
        let refused = |partitions, expected| assert_eq!(mbr(partitions, 1 << 42), Err(expected));
        let end = (1 << 33) - 1;
        refused(vec![partition(1, 100, 100), partition(2, 150, 10)], Error::Overlap(1, 2));
        refused(vec![partition(1, 0, 5)], Error::Outside { number: 1, start: 0, last: 4, first: 1, end });
        refused(vec![partition(1, 5, 0)], Error::Outside { number: 1, start: 5, last: 5, first: 1, end });
        let last = u64::MAX;
        refused(vec![partition(1, last, 2)], Error::Outside { number: 1, start: last, last, first: 1, end });
        refused(vec![partition(1, 1 << 32, 2)], Error::Beyond32(1));
        refused(vec![partition(1, 1, 1 << 32)], Error::Beyond32(1));
        refused(vec![partition(5, 100, 100)], Error::Number { number: 5, most: 4 });
        refused(vec![partition(1, 100, 100), partition(1, 300, 100)], Error::Number { number: 1, most: 4 });
        refused(vec![MbrPartition { kind: 0, ..partition(1, 100, 100) }], Error::Type(1));
        refused(vec![MbrPartition { kind: 5, ..partition(3, 100, 100) }], Error::Type(3));
        assert_eq!(mbr(vec![], 511), Err(Error::Disk(511)));
    }

    #[test]
    fn what_a_gpt_cannot_say_is_refused() {
        let partition = |number: u32, start, sectors| GptPartition {
            number,
            start,
            sectors,
            type_guid: Uuid::from_u128(1),
            unique_guid: Uuid::from_u128(u128::from(number) + 1),
            name: "root".to_owned(),
            attributes: 0,
        };
        let gpt = |partitions, len| {
            let table = Table::Gpt(Gpt { disk_guid: Uuid::from_u128(9), partitions });
            encode(&table, len, SectorSize::S512).map(|_| ())
        };
        let refused = |one, expected| assert_eq!(gpt(vec![one], 100 << 9), Err(expected));
        refused(partition(129, 40, 5), Error::Number { number: 129, most: 128 });
        refused(partition(1, 33, 5), Error::Outside { number: 1, start: 33, last: 37, first: 34, end: 66 });
        refused(partition(1, 60, 8), Error::Outside { number: 1, start: 60, last: 67, first: 34, end: 66 });
        refused(GptPartition { name: "x".repeat(37), ..partition(1, 40, 5) }, Error::Name(1));
        refused(GptPartition { name: "𝄞".repeat(19), ..partition(1, 40, 5) }, Error::Name(1));
        refused(GptPartition { name: "a\0b".to_owned(), ..partition(1, 40, 5) }, Error::Name(1));
        refused(GptPartition { type_guid: Uuid::nil(), ..partition(1, 40, 5) }, Error::Type(1));
        refused(GptPartition { unique_guid: Uuid::nil(), ..partition(1, 40, 5) }, Error::Guid(1));
        let twin = GptPartition { number: 2, ..partition(1, 50, 5) };
        assert_eq!(gpt(vec![partition(1, 40, 5), twin], 100 << 9), Err(Error::Guid(2)));
        assert_eq!(gpt(vec![partition(1, 34, 1)], 68 << 9), Ok(()), "the shortest disk");
        assert_eq!(gpt(vec![], 67 << 9), Err(Error::Disk(67 << 9)));
    }
}
