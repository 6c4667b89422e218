//! Reads the first sector of a disk, and the chain of logical partitions.

use super::read::{Disk, Place, ReadError, check_places, le32};
use super::{MBR_ENTRIES, MbrPartition, PROTECTIVE, Problem, is_extended};
use std::collections::BTreeSet;

/// The most logical partitions that are followed; Linux gives no more device names.
const MAX_LOGICAL: u32 = 252;
/// The number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;

/// What the first sector of a disk is.
pub(crate) enum FirstSector {
    /// Nothing known.
    Nothing,
    /// The boot sector of a file system, which ends with the same mark.
    FileSystem,
    /// It speaks of a GPT, and of that many other partitions.
    Protective { others: usize },
    /// An MBR with its primary partitions.
    Mbr { disk_id: u32, partitions: Vec<MbrPartition> },
    /// An MBR that the kernel would not take.
    Bad(Problem),
}

/// Looks at the first sector.
pub(crate) fn first_sector(sector: &[u8]) -> FirstSector {
    if sector.get(510..512) != Some(&[0x55, 0xaa]) {
        return FirstSector::Nothing;
    }
    let is_boot = is_boot_sector(sector);
    let flags = (1..).zip(entries(sector)).map(|(number, entry)| (number, entry[0]));
    if let Some((number, flag)) = flags.clone().find(|(_, flag)| flag & 0x7f != 0) {
        let bad = FirstSector::Bad(Problem::ActiveFlag { number, flag });
        return if is_boot { FirstSector::FileSystem } else { bad };
    }
    let partitions: Vec<_> =
        (1..).zip(entries(sector)).filter_map(|(number, entry)| partition(number, 0, entry)).collect();
    if partitions.is_empty() && is_boot {
        return FirstSector::FileSystem;
    }
    if partitions.iter().any(|partition| partition.kind == PROTECTIVE) {
        let others = partitions.iter().filter(|partition| partition.kind != PROTECTIVE).count();
        return FirstSector::Protective { others };
    }
    FirstSector::Mbr { disk_id: le32(sector, 440), partitions }
}

/// Whether it begins like the boot sector of a FAT, NTFS or exFAT: a jump, then where an MBR has code, a sector size.
fn is_boot_sector(sector: &[u8]) -> bool {
    let jumps = matches!(sector, [0xeb, _, 0x90, ..] | [0xe9, ..]);
    let sector_bytes = u16::from_le_bytes([sector[11], sector[12]]);
    jumps && (sector[3..11] == *b"EXFAT   " || [512, 1024, 2048, 4096].contains(&sector_bytes))
}

/// The four entries.
fn entries(sector: &[u8]) -> impl Iterator<Item = &[u8; 16]> + Clone {
    sector.get(MBR_ENTRIES..510).unwrap_or_default().as_chunks().0.iter()
}

/// The partition of an entry, whose sectors count from `base`; `None` when it is empty.
fn partition(number: u32, base: u64, entry: &[u8; 16]) -> Option<MbrPartition> {
    let (kind, sectors) = (entry[4], u64::from(le32(entry, 12)));
    let start = base + u64::from(le32(entry, 8));
    (kind != 0 && sectors > 0).then_some(MbrPartition {
        number,
        start,
        sectors,
        kind,
        active: entry[0] == 0x80,
    })
}

/// Adds logical partitions to primary ones and checks all.
pub(crate) fn read(
    disk: &Disk<'_>,
    mut partitions: Vec<MbrPartition>,
) -> Result<(Vec<MbrPartition>, Vec<Problem>), ReadError> {
    let mut problems = Vec::new();
    let active = partitions.iter().filter(|partition| partition.active).count();
    if active > 1 {
        problems.push(Problem::Active(active));
    }
    let place = |p: &MbrPartition| -> Place { (p.number, p.start, p.start + p.sectors - 1) };
    let end = disk.sectors().saturating_sub(1);
    let primary: Vec<Place> = partitions.iter().map(place).collect();
    check_places(&primary, 1, end, &mut problems);
    let extended: Vec<MbrPartition> = partitions.iter().filter(|p| p.is_extended()).cloned().collect();
    if extended.len() > 1 {
        problems.push(Problem::Extended(extended.len()));
    }
    if let Some(extended) = extended.first() {
        let logical = read_logical(disk, extended, &mut problems)?;
        let places: Vec<Place> = logical.iter().map(place).collect();
        let (_, first, last) = place(extended);
        check_places(&places, first + 1, last.min(end), &mut problems);
        partitions.extend(logical);
    }
    Ok((partitions, problems))
}

/// Follows the chain: each link is a sector like the first one, with a partition that counts from there and a link
/// that counts from the start of the extended partition. Links may go backwards, but to no sector twice.
fn read_logical(
    disk: &Disk<'_>,
    extended: &MbrPartition,
    problems: &mut Vec<Problem>,
) -> Result<Vec<MbrPartition>, ReadError> {
    let (mut logical, mut seen, mut at) = (Vec::new(), BTreeSet::new(), extended.start);
    for _ in 0..MAX_LOGICAL {
        if !seen.insert(at) {
            problems.push(Problem::ChainLoop(at));
            return Ok(logical);
        }
        let in_extended = at - extended.start < extended.sectors;
        let sector = if in_extended { disk.sector(at)? } else { None };
        let Some(sector) = sector.filter(|sector| sector.get(510..512) == Some(&[0x55, 0xaa])) else {
            // An extended partition without any logical one needs no first link.
            problems.extend((at != extended.start).then_some(Problem::ChainEnd(at)));
            return Ok(logical);
        };
        let mut next = None;
        for entry in entries(&sector) {
            if is_extended(entry[4]) {
                next = next.or_else(|| partition(0, extended.start, entry).map(|link| link.start));
            } else if let Some(found) = partition(number_after(&logical), at, entry) {
                logical.push(found);
            }
        }
        let Some(next) = next else { return Ok(logical) };
        at = next;
    }
    problems.push(Problem::ChainLong(MAX_LOGICAL));
    Ok(logical)
}

fn number_after(logical: &[MbrPartition]) -> u32 {
    logical.last().map_or(FIRST_LOGICAL, |last| last.number + 1)
}
