//! Makes the last partition of a table reach the end of a larger disk, in place.

use super::gpt_header::{self, ENDING_LBA, sound_entries};
use super::mbr_sector::{self, PRIMARIES, chs};
use super::read::read_with;
use super::relocate::store_entries;
use super::table::{SectorSize, Table};
use crate::ints;
use crate::stream::ReadAt;
use std::io;

/// A partition that became longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Its number in the table, from 1.
    pub number: u32,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its length now, in bytes.
    pub len: u64,
}

/// Partitions end at multiples of this many bytes.
const ALIGN: u64 = 1 << 20;

/// Changes the table at the start of a disk so that its last partition reaches the end of `disk_len` bytes.
///
/// `None`, and nothing changed, when there is no sound table, when the last partition is a logical one, or when there
/// is less than a MiB to gain. The backup of a GPT is left to [`relocate`](super::relocate()).
pub fn grow(start: &mut [u8], disk_len: u64, sector: SectorSize) -> Option<Grown> {
    let bytes = sector.bytes();
    let reading = read_with(&Start(start, disk_len), sector).ok()?;
    match reading.table? {
        Table::Mbr(mbr) => {
            let last = mbr.partitions.iter().max_by_key(|partition| partition.start)?;
            if last.number > PRIMARIES || last.is_extended() {
                return None;
            }
            let end = (disk_len / ALIGN * ALIGN / bytes).min(u64::from(u32::MAX));
            let sectors = end.checked_sub(last.start).filter(|sectors| *sectors > last.sectors)?;
            let entry = mbr_sector::entry_mut(start, last.number)?;
            mbr_sector::ENDING_CHS.put(entry, &chs(end - 1));
            mbr_sector::SIZE_IN_LBA.put_low(entry, sectors);
            Some(Grown { number: last.number, start: last.start * bytes, len: sectors * bytes })
        }
        Table::Gpt(gpt) => {
            let last = gpt.partitions.iter().max_by_key(|partition| partition.start)?;
            let header_at = ints::to_usize(bytes);
            let header = start.get(header_at..header_at * 2)?.to_vec();
            let mut entries = sound_entries(&header, start, header_at)?;
            let array = ints::to_u64(entries.len()).div_ceil(bytes);
            // Behind the partition come the entries of the backup and its header.
            let end = (disk_len / bytes).checked_sub(1 + array)? * bytes / ALIGN * ALIGN / bytes;
            let sectors = end.checked_sub(last.start).filter(|sectors| *sectors > last.sectors)?;
            let size = ints::to_usize(gpt_header::SIZE_OF_PARTITION_ENTRY.get(&header).into());
            let at = size * ints::to_usize(u64::from(last.number) - 1);
            ENDING_LBA.put(entries.get_mut(at..at + size)?, end - 1);
            store_entries(start, header_at, &entries);
            Some(Grown { number: last.number, start: last.start * bytes, len: sectors * bytes })
        }
    }
}

/// Why [`grow`] changes nothing of a disk.
#[must_use]
pub fn hindrance(start: &[u8], disk_len: u64, sector: SectorSize) -> &'static str {
    const NO_ROOM: &str = "there is less than 1 MiB behind the last partition";
    let Ok(reading) = read_with(&Start(start, disk_len), sector) else { return "its table cannot be read" };
    let header_at = ints::to_usize(sector.bytes());
    match reading.table {
        None => "it has no partition table that is sound",
        Some(Table::Mbr(mbr)) => match mbr.partitions.iter().max_by_key(|partition| partition.start) {
            None => "its table has no partition",
            Some(last) if last.number > PRIMARIES || last.is_extended() => {
                "its last partition is a logical one, within an extended one"
            }
            Some(last) => {
                let most = u64::from(u32::MAX);
                let reaches = last.start.saturating_add(last.sectors);
                let is_large = disk_len / sector.bytes() > most;
                if is_large && reaches + (ALIGN / sector.bytes()) >= most {
                    "it has an MBR, and the last partition ends where an MBR does"
                } else {
                    NO_ROOM
                }
            }
        },
        Some(Table::Gpt(gpt)) => {
            let header = start.get(header_at..header_at * 2);
            if gpt.partitions.is_empty() {
                "its table has no partition"
            } else if header.is_none_or(|header| sound_entries(header, start, header_at).is_none()) {
                "the entries of its GPT are not in the first MiB, or its header is damaged"
            } else {
                NO_ROOM
            }
        }
    }
}

/// The start of a disk whose rest is not known: zeros.
struct Start<'a>(&'a [u8], u64);

impl ReadAt for Start<'_> {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = ints::to_usize(offset).min(self.0.len());
        let len = buf.len().min(self.0.len() - from);
        buf[..len].copy_from_slice(&self.0[from..from + len]);
        buf[len..].fill(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::disk::partition_table::{
        Gpt, GptPartition, Mbr, MbrPartition, encode, read, relocate,
    };
    use uuid::Uuid;

    fn image(table: &Table, len: u64) -> Vec<u8> {
        let mut image = vec![0; ints::to_usize(len)];
        for (offset, bytes) in encode(table, len, SectorSize::S512).unwrap() {
            image[ints::to_usize(offset)..][..bytes.len()].copy_from_slice(&bytes);
        }
        image
    }

    #[test]
    fn the_last_partition_reaches_the_end() {
        let mbr = |number, start| MbrPartition { number, start, sectors: 2048, kind: 0x83, active: false };
        let table = Table::Mbr(Mbr { disk_id: 1, partitions: vec![mbr(1, 4096), mbr(2, 2048)] });
        let mut disk = image(&table, 4 << 20);
        assert_eq!(grow(&mut disk.clone(), 3 << 20, SectorSize::S512), None);
        let len = (9 << 20) + 512;
        let grown = Grown { number: 1, start: 2 << 20, len: 7 << 20 };
        assert_eq!(grow(&mut disk, len, SectorSize::S512), Some(grown));
        disk.resize(len as usize, 0);
        let reading = read(&&disk[..]).unwrap();
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        assert_eq!(reading.places()[0].len, 7 << 20);
        assert_eq!(grow(&mut disk, len, SectorSize::S512), None, "once is enough");
    }

    #[test]
    fn a_gpt_grows_and_its_backup_follows() {
        let gpt = |number, start| GptPartition {
            number,
            start,
            sectors: 2048,
            type_guid: Uuid::from_u128(1),
            unique_guid: Uuid::from_u128(u128::from(number)),
            name: "x".into(),
            attributes: 0,
        };
        let table =
            Table::Gpt(Gpt { disk_guid: Uuid::from_u128(9), partitions: vec![gpt(1, 2048), gpt(2, 4096)] });
        let mut disk = image(&table, 4 << 20);
        let len: u64 = (9 << 20) + 1024;
        let grown = grow(&mut disk, len, SectorSize::S512).unwrap();
        assert_eq!(grown, Grown { number: 2, start: 2 << 20, len: 6 << 20 });
        let moved = relocate(&mut disk, len, SectorSize::S512).unwrap();
        disk.resize(len as usize, 0);
        disk[moved.offset as usize..][..moved.backup.len()].copy_from_slice(&moved.backup);
        let reading = read(&&disk[..]).unwrap();
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        assert_eq!(reading.places()[1].len, 6 << 20);
    }

    #[test]
    fn what_is_no_table_stays_as_it_is() {
        let mut nothing = vec![0; 1 << 20];
        assert_eq!(grow(&mut nothing, 1 << 30, SectorSize::S512), None);
        assert!(nothing.iter().all(|byte| *byte == 0));
    }
}
