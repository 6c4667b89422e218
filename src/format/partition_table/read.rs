//! Tables out of bytes that anyone may have written: every read is bounded, every sum checked.

use super::{GPT_ENTRY, GPT_MAGIC, Gpt, GptPartition, Mbr, MbrPartition, SectorSize, Table};
use crate::num;
use crate::stream::ReadAt;
use std::io;
use uuid::Uuid;

/// The most entries of a GPT that are read; sgdisk makes no more.
const MAX_ENTRIES: u64 = 1024;
/// The most logical partitions that are followed.
const MAX_LOGICAL: u32 = 60;

/// What was found on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The table; `None` when there is none.
    pub table: Option<Table>,
    /// The size of sectors that the table counts in.
    pub sector: SectorSize,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// Something wrong with a table, in words.
pub type Problem = String;

/// Reads the table of a disk. Sectors of 512 bytes are tried first, then 4096.
pub fn read(disk: &dyn ReadAt) -> io::Result<Reading> {
    let mut problems = Vec::new();
    let none = Reading { table: None, sector: SectorSize::S512, problems: Vec::new() };
    if disk.size() < 512 {
        return Ok(none);
    }
    let mut first = [0; 512];
    disk.read_exact_at(&mut first, 0)?;
    for sector in [SectorSize::S512, SectorSize::S4096] {
        if let Some(gpt) = read_gpt(disk, sector, &mut problems)? {
            check_protective(&first, &mut problems);
            check_places(gpt.partitions.iter().map(|p| (p.number, p.start, p.sectors)), disk.size() / sector.bytes(), &mut problems);
            return Ok(Reading { table: Some(Table::Gpt(gpt)), sector, problems });
        }
    }
    if first[510..512] != [0x55, 0xaa] || looks_like_fat(&first) {
        return Ok(none);
    }
    let mbr = read_mbr(disk, &first, &mut problems)?;
    check_places(mbr.partitions.iter().filter(|p| !is_extended(p.kind)).map(|p| (p.number, p.start, p.sectors)), disk.size() / 512, &mut problems);
    if mbr.partitions.is_empty() {
        problems.push("the MBR has no partition".to_owned());
    }
    Ok(Reading { table: Some(Table::Mbr(mbr)), sector: SectorSize::S512, problems })
}

/// A FAT boot sector has the same mark at its end as an MBR.
fn looks_like_fat(sector: &[u8; 512]) -> bool {
    let jump = sector[0] == 0xeb || sector[0] == 0xe9;
    jump && (sector[54..59] == *b"FAT16" || sector[54..59] == *b"FAT12" || sector[82..87] == *b"FAT32")
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

fn guid(bytes: &[u8], at: usize) -> Uuid {
    let mut raw = [0; 16];
    raw.copy_from_slice(&bytes[at..at + 16]);
    Uuid::from_bytes_le(raw)
}

const fn is_extended(kind: u8) -> bool {
    matches!(kind, 0x05 | 0x0f | 0x85)
}

fn mbr_entry(sector: &[u8], slot: usize, number: u32) -> Option<MbrPartition> {
    let entry = &sector[446 + 16 * slot..462 + 16 * slot];
    let (kind, sectors) = (entry[4], u64::from(le32(entry, 12)));
    (kind != 0 && sectors > 0).then(|| MbrPartition { number, start: u64::from(le32(entry, 8)), sectors, kind, active: entry[0] == 0x80 })
}

fn read_mbr(disk: &dyn ReadAt, first: &[u8; 512], problems: &mut Vec<Problem>) -> io::Result<Mbr> {
    let mut partitions: Vec<MbrPartition> = (0..4).zip(1..).filter_map(|(slot, number)| mbr_entry(first, slot, number)).collect();
    let active = partitions.iter().filter(|p| p.active).count();
    if active > 1 {
        problems.push(format!("{active} partitions are flagged active"));
    }
    if let Some(extended) = partitions.iter().find(|p| is_extended(p.kind)).cloned() {
        read_logical(disk, extended.start, &mut partitions, problems)?;
    }
    Ok(Mbr { disk_id: le32(first, 440), partitions })
}

/// Follows the chain of logical partitions; it must go forward, so that it ends.
fn read_logical(disk: &dyn ReadAt, base: u64, partitions: &mut Vec<MbrPartition>, problems: &mut Vec<Problem>) -> io::Result<()> {
    let mut at = base;
    for number in 5..5 + MAX_LOGICAL {
        if at.saturating_add(1).saturating_mul(512) > disk.size() {
            problems.push(format!("the chain of logical partitions leads to sector {at}, beyond the end of the disk"));
            return Ok(());
        }
        let mut sector = [0; 512];
        disk.read_exact_at(&mut sector, at * 512)?;
        if sector[510..512] != [0x55, 0xaa] {
            problems.push(format!("sector {at} holds no logical partition, although the chain leads there"));
            return Ok(());
        }
        if let Some(mut logical) = mbr_entry(&sector, 0, number) {
            logical.start += at;
            partitions.push(logical);
        }
        let Some(next) = mbr_entry(&sector, 1, 0).map(|link| base + link.start) else { return Ok(()) };
        if next <= at {
            problems.push(format!("the chain of logical partitions leads back from sector {at} to {next}"));
            return Ok(());
        }
        at = next;
    }
    problems.push(format!("more than {MAX_LOGICAL} logical partitions"));
    Ok(())
}

struct Header {
    bytes: Vec<u8>,
    valid: bool,
}

/// Reads the header at a sector; `None` when there is none.
fn header(disk: &dyn ReadAt, lba: u64, sector: SectorSize) -> io::Result<Option<Header>> {
    let unit = sector.bytes();
    let Some(at) = lba.checked_mul(unit).filter(|at| at.checked_add(unit).is_some_and(|end| end <= disk.size())) else { return Ok(None) };
    let mut bytes = vec![0; 512];
    disk.read_exact_at(&mut bytes, at)?;
    if bytes[..8] != *GPT_MAGIC {
        return Ok(None);
    }
    let size = num::to_usize(u64::from(le32(&bytes, 12)));
    let stored = le32(&bytes, 16);
    bytes[16..20].fill(0);
    let valid = (92..=512).contains(&size) && crc32fast::hash(&bytes[..size]) == stored && le64(&bytes, 24) == lba;
    Ok(Some(Header { bytes, valid }))
}

fn read_gpt(disk: &dyn ReadAt, sector: SectorSize, problems: &mut Vec<Problem>) -> io::Result<Option<Gpt>> {
    let Some(primary) = header(disk, 1, sector)? else { return Ok(None) };
    let end = (disk.size() / sector.bytes()).saturating_sub(1);
    let backup_lba = le64(&primary.bytes, 32);
    if primary.valid && backup_lba != end {
        problems.push(format!("the backup GPT is said to be at sector {backup_lba}, the disk ends with sector {end}"));
    }
    let backup = match header(disk, backup_lba, sector)? {
        Some(backup) if primary.valid => Some(backup),
        _ => header(disk, end, sector)?,
    };
    let entries = |header: &Header, problems: &mut Vec<Problem>, which: &str| -> io::Result<Option<Vec<GptPartition>>> {
        if !header.valid {
            problems.push(format!("the {which} GPT header is damaged"));
            return Ok(None);
        }
        read_entries(disk, &header.bytes, sector, which, problems)
    };
    let first = entries(&primary, problems, "primary")?;
    let second = match &backup {
        Some(backup) => entries(backup, problems, "backup")?,
        None => {
            problems.push("there is no backup GPT".to_owned());
            None
        }
    };
    if first.is_some() && second.is_some() && first != second {
        problems.push("primary and backup GPT list different partitions".to_owned());
    }
    let (source, partitions) = match (first, second, &backup) {
        (Some(partitions), _, _) => (&primary, partitions),
        (None, Some(partitions), Some(backup)) => (backup, partitions),
        _ => return Ok(None),
    };
    Ok(Some(Gpt { disk_guid: guid(&source.bytes, 56), partitions }))
}

fn read_entries(disk: &dyn ReadAt, header: &[u8], sector: SectorSize, which: &str, problems: &mut Vec<Problem>) -> io::Result<Option<Vec<GptPartition>>> {
    let (at, count, size) = (le64(header, 72), u64::from(le32(header, 80)), u64::from(le32(header, 84)));
    if size < num::to_u64(GPT_ENTRY) || size > 4096 || count > MAX_ENTRIES {
        problems.push(format!("the {which} GPT has {count} entries of {size} bytes, expected at most {MAX_ENTRIES} of 128 to 4096"));
        return Ok(None);
    }
    let len = count * size;
    let Some(offset) = at.checked_mul(sector.bytes()).filter(|at| at.checked_add(len).is_some_and(|end| end <= disk.size())) else {
        problems.push(format!("the entries of the {which} GPT are beyond the end of the disk"));
        return Ok(None);
    };
    let mut bytes = vec![0; num::to_usize(len)];
    disk.read_exact_at(&mut bytes, offset)?;
    if crc32fast::hash(&bytes) != le32(header, 88) {
        problems.push(format!("the entries of the {which} GPT are damaged"));
        return Ok(None);
    }
    let mut partitions = Vec::new();
    for (entry, number) in bytes.chunks_exact(num::to_usize(size)).zip(1..) {
        let type_guid = guid(entry, 0);
        if type_guid.is_nil() {
            continue;
        }
        let (start, last) = (le64(entry, 32), le64(entry, 40));
        let Some(sectors) = last.checked_sub(start).and_then(|len| len.checked_add(1)) else {
            problems.push(format!("partition {number} ends at sector {last}, before it begins at {start}"));
            continue;
        };
        let units: Vec<u16> = entry[56..128].chunks_exact(2).map(|u| u16::from_le_bytes([u[0], u[1]])).take_while(|u| *u != 0).collect();
        let (unique_guid, name, attributes) = (guid(entry, 16), String::from_utf16_lossy(&units), le64(entry, 48));
        partitions.push(GptPartition { number, start, sectors, type_guid, unique_guid, name, attributes });
    }
    Ok(Some(partitions))
}

fn check_protective(first: &[u8; 512], problems: &mut Vec<Problem>) {
    let kinds: Vec<u8> = (0..4).map(|slot| first[450 + 16 * slot]).collect();
    if first[510..512] != [0x55, 0xaa] || !kinds.contains(&0xee) {
        problems.push("there is no protective MBR".to_owned());
    } else if kinds.iter().any(|kind| !matches!(kind, 0 | 0xee)) {
        problems.push("the MBR in front of the GPT is a hybrid: it lists partitions of its own".to_owned());
    }
}

fn check_places(partitions: impl Iterator<Item = (u32, u64, u64)>, sectors: u64, problems: &mut Vec<Problem>) {
    let mut places: Vec<(u64, u64, u32)> = Vec::new();
    for (number, start, len) in partitions {
        let end = start.saturating_add(len);
        if end > sectors {
            problems.push(format!("partition {number} ends at sector {end}, the disk at {sectors}"));
        }
        places.push((start, end, number));
    }
    places.sort_unstable();
    for pair in places.windows(2) {
        if pair[0].1 > pair[1].0 {
            problems.push(format!("partitions {} and {} overlap", pair[0].2, pair[1].2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{encode, Error};
    use super::*;
    use proptest::prelude::*;

    const LEN: usize = 2 << 20;

    fn disk(table: &Table) -> Result<Vec<u8>, Error> {
        let mut disk = vec![0; LEN];
        for (offset, bytes) in encode(table, num::to_u64(LEN), SectorSize::S512)? {
            let at = num::to_usize(offset);
            disk[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(disk)
    }

    fn gpt() -> Table {
        let partition = |number: u32, start, sectors| GptPartition {
            number,
            start,
            sectors,
            type_guid: Uuid::from_u128(1),
            unique_guid: Uuid::from_u128(u128::from(number)),
            name: "naïve 日本".to_owned(),
            attributes: 4,
        };
        Table::Gpt(Gpt { disk_guid: Uuid::from_u128(7), partitions: vec![partition(1, 40, 100), partition(3, 2000, 5)] })
    }

    fn mbr() -> Table {
        let partition = |number, start, sectors| MbrPartition { number, start, sectors, kind: 0x83, active: number == 2 };
        Table::Mbr(Mbr { disk_id: 0x1234_5678, partitions: vec![partition(1, 8, 100), partition(2, 200, 300)] })
    }

    #[test]
    fn tables_read_back() {
        for table in [gpt(), mbr()] {
            let reading = read(&&disk(&table).unwrap()[..]).unwrap();
            assert_eq!((reading.table, reading.problems), (Some(table), Vec::new()));
        }
        assert_eq!(read(&&vec![0; LEN][..]).unwrap().table, None);
        assert_eq!(read(&&[][..]).unwrap().table, None);
    }

    #[test]
    fn the_crates_read_the_same() {
        let bytes = disk(&gpt()).unwrap();
        let seen = gpt::GptConfig::new().writable(false).open_from_device(std::io::Cursor::new(bytes)).unwrap();
        assert_eq!(seen.partitions().len(), 2);
        assert_eq!((seen.partitions()[&3].first_lba, seen.partitions()[&3].last_lba, &seen.partitions()[&3].name[..]), (2000, 2004, "naïve 日本"));
        let bytes = disk(&mbr()).unwrap();
        let seen = mbrman::MBR::read_from(&mut std::io::Cursor::new(bytes), 512).unwrap();
        assert_eq!((seen[2].starting_lba, seen[2].sectors, seen[2].sys, seen[2].boot), (200, 300, 0x83, 0x80));
        assert_eq!(seen.header.disk_signature, [0x78, 0x56, 0x34, 0x12]);
    }

    #[test]
    fn damage_is_named_and_the_backup_used() {
        let good = disk(&gpt()).unwrap();
        let damaged = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            read(&&bytes[..]).unwrap()
        };
        let reading = damaged(512 + 60);
        assert_eq!(reading.problems, ["the primary GPT header is damaged"]);
        assert_eq!(reading.table, Some(gpt()));
        assert_eq!(damaged(1024 + 40).problems, ["the entries of the primary GPT are damaged"]);
        assert_eq!(damaged(LEN - 512 + 60).problems, ["the backup GPT header is damaged"]);
        assert_eq!(damaged(450).problems, ["there is no protective MBR"]);
        let longer = [&good[..], &[0; 512]].concat();
        assert!(read(&&longer[..]).unwrap().problems[0].contains("the disk ends with sector 4096"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn nothing_on_a_disk_makes_reading_panic(seed in any::<bool>(), changes in prop::collection::vec((0usize..2048, any::<u8>()), 1..40), cut in 0usize..3000) {
            let mut bytes = disk(&if seed { gpt() } else { mbr() }).unwrap();
            for (at, value) in changes {
                bytes[at] = value;
                bytes[LEN - 1 - at] = value;
            }
            bytes.truncate(LEN - cut);
            read(&&bytes[..]).unwrap();
        }
    }
}
