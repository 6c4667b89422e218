//! Tables as bytes.

use super::{
    Error, GPT_ENTRIES, GPT_ENTRY, GPT_HEADER, GPT_MAGIC, Gpt, GptPartition, MBR_ENTRIES, Mbr, MbrPartition,
    PROTECTIVE, SectorSize, Table, is_extended,
};
use crate::num;
use std::collections::BTreeSet;

/// Partitions of an MBR without logical ones.
const PRIMARIES: u32 = 4;
/// Heads and sectors per track of the disk that sfdisk imagines.
const HEADS: u64 = 255;
const PER_TRACK: u64 = 63;
/// The last cylinder that CHS can say.
const LAST_CYLINDER: u64 = 1023;
/// CHS of what is beyond: the last head, sector and cylinder.
const CHS_BEYOND: [u8; 3] = [0xfe, 0xff, 0xff];
/// CHS of sector 1, as in every protective MBR: it ignores the geometry.
const CHS_FIRST: [u8; 3] = [0x00, 0x02, 0x00];
const ENTRY_LEN: usize = num::to_usize(GPT_ENTRY as u64);

/// Every range of the disk that a table takes, in ascending order: whole sectors. The rest of a disk that is not a
/// whole sector stays unused.
pub fn encode(table: &Table, disk_len: u64, sector: SectorSize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    match table {
        Table::Mbr(mbr) => Ok(vec![(0, encode_mbr(mbr, disk_len, sector)?)]),
        Table::Gpt(gpt) => encode_gpt(gpt, disk_len, sector),
    }
}

/// Where a partition is: number, first sector, sectors.
type Place = (u32, u64, u64);

/// Checks numbers and places.
fn ensure_places(places: impl Iterator<Item = Place>, most: u32, first: u64, end: u64) -> Result<(), Error> {
    let (mut seen, mut numbers) = (Vec::new(), BTreeSet::new());
    for (number, start, sectors) in places {
        if !(1..=most).contains(&number) || !numbers.insert(number) {
            return Err(Error::Number { number, most });
        }
        let last = start.saturating_add(sectors.saturating_sub(1));
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
    ensure_places(mbr.partitions.iter().map(|p| (p.number, p.start, p.sectors)), PRIMARIES, 1, end)?;
    let mut out = vec![0; num::to_usize(sector.bytes())];
    out[440..444].copy_from_slice(&mbr.disk_id.to_le_bytes());
    for partition in &mbr.partitions {
        if partition.kind == 0 || partition.kind == PROTECTIVE || is_extended(partition.kind) {
            return Err(Error::Type(partition.number));
        }
        let at = MBR_ENTRIES + 16 * num::to_usize(u64::from(partition.number) - 1);
        out[at..at + 16].copy_from_slice(&mbr_entry(partition)?);
    }
    out[510..512].copy_from_slice(&[0x55, 0xaa]);
    Ok(out)
}

fn mbr_entry(partition: &MbrPartition) -> Result<[u8; 16], Error> {
    let beyond = |_| Error::Beyond32(partition.number);
    let start = u32::try_from(partition.start).map_err(beyond)?;
    let sectors = u32::try_from(partition.sectors).map_err(beyond)?;
    let active = if partition.active { 0x80 } else { 0 };
    let last = partition.start + partition.sectors - 1;
    Ok(raw_entry(active, partition.kind, [chs(partition.start), chs(last)], [start, sectors]))
}

fn raw_entry(active: u8, kind: u8, [first, last]: [[u8; 3]; 2], [start, sectors]: [u32; 2]) -> [u8; 16] {
    let mut out = [0; 16];
    out[0] = active;
    out[1..4].copy_from_slice(&first);
    out[4] = kind;
    out[5..8].copy_from_slice(&last);
    out[8..12].copy_from_slice(&start.to_le_bytes());
    out[12..16].copy_from_slice(&sectors.to_le_bytes());
    out
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
        let array = u64::from(GPT_ENTRIES * GPT_ENTRY) / sector.bytes();
        let last = (disk_len / sector.bytes()).checked_sub(1);
        let last = last.filter(|last| *last >= 2 * array + 3).ok_or(Error::Disk(disk_len))?;
        Ok(Self { array, last, first_usable: 2 + array, last_usable: last - array - 1 })
    }
}

fn encode_gpt(gpt: &Gpt, disk_len: u64, sector: SectorSize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let places = Places::on(disk_len, sector)?;
    let partitions = gpt.partitions.iter().map(|p| (p.number, p.start, p.sectors));
    ensure_places(partitions, GPT_ENTRIES, places.first_usable, places.last_usable)?;
    let entries = gpt_entries(gpt)?;
    let header = |own, other, entries_at| {
        let mut header = gpt_header(gpt, &places, [own, other, entries_at], crc32fast::hash(&entries));
        header.resize(num::to_usize(sector.bytes()), 0);
        header
    };
    let mut head = protective_mbr(places.last, sector);
    head.extend(header(1, places.last, 2));
    head.extend(&entries);
    let tail_at = places.last - places.array;
    let mut tail = entries.clone();
    tail.extend(header(places.last, 1, tail_at));
    Ok(vec![(0, head), (tail_at * sector.bytes(), tail)])
}

fn gpt_header(gpt: &Gpt, places: &Places, [own, other, entries_at]: [u64; 3], entries_sum: u32) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(GPT_MAGIC);
    out.extend(0x0001_0000_u32.to_le_bytes());
    out.extend(GPT_HEADER.to_le_bytes());
    out.extend([0; 8]);
    for lba in [own, other, places.first_usable, places.last_usable] {
        out.extend(lba.to_le_bytes());
    }
    out.extend(gpt.disk_guid.to_bytes_le());
    out.extend(entries_at.to_le_bytes());
    for field in [GPT_ENTRIES, GPT_ENTRY, entries_sum] {
        out.extend(field.to_le_bytes());
    }
    // The sum is over the header with its own field zero.
    let sum = crc32fast::hash(&out);
    out[16..20].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Where a protective entry ends. UEFI 5.2.3: all ones where CHS cannot say the last sector.
pub(crate) fn protective_end(last: u64) -> [u8; 3] {
    if last / (HEADS * PER_TRACK) > LAST_CYLINDER { [0xff; 3] } else { chs(last) }
}

fn protective_mbr(last: u64, sector: SectorSize) -> Vec<u8> {
    let mut out = vec![0; num::to_usize(sector.bytes())];
    let covered = u32::try_from(last).unwrap_or(u32::MAX);
    let entry = raw_entry(0, PROTECTIVE, [CHS_FIRST, protective_end(last)], [1, covered]);
    out[MBR_ENTRIES..MBR_ENTRIES + 16].copy_from_slice(&entry);
    out[510..512].copy_from_slice(&[0x55, 0xaa]);
    out
}

fn gpt_entries(gpt: &Gpt) -> Result<Vec<u8>, Error> {
    let mut entries = vec![0; num::to_usize(u64::from(GPT_ENTRIES)) * ENTRY_LEN];
    let mut guids = BTreeSet::new();
    for partition in &gpt.partitions {
        if partition.type_guid.is_nil() {
            return Err(Error::Type(partition.number));
        }
        if partition.unique_guid.is_nil() || !guids.insert(partition.unique_guid) {
            return Err(Error::Guid(partition.number));
        }
        let at = ENTRY_LEN * num::to_usize(u64::from(partition.number) - 1);
        gpt_entry(partition, &mut entries[at..at + ENTRY_LEN])?;
    }
    Ok(entries)
}

fn gpt_entry(partition: &GptPartition, out: &mut [u8]) -> Result<(), Error> {
    let name: Vec<u16> = partition.name.encode_utf16().collect();
    if name.len() > 36 || name.contains(&0) {
        return Err(Error::Name(partition.number));
    }
    let last = partition.start + partition.sectors - 1;
    out[0..16].copy_from_slice(&partition.type_guid.to_bytes_le());
    out[16..32].copy_from_slice(&partition.unique_guid.to_bytes_le());
    out[32..40].copy_from_slice(&partition.start.to_le_bytes());
    out[40..48].copy_from_slice(&last.to_le_bytes());
    out[48..56].copy_from_slice(&partition.attributes.to_le_bytes());
    for (unit, bytes) in name.iter().zip(out[56..].chunks_exact_mut(2)) {
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
