//! Reads the first sector of a disk, and the chain of logical partitions.

use super::disk::{Disk, ReadError};
use super::mbr_sector::{
    self, ACTIVE, ENTRY_LEN, PROTECTIVE, SIGNATURE, SIGNATURE_WORD, entries, is_extended,
};
use super::place::{self, Place};
use super::problem::Problem;
use super::table::MbrPartition;
use crate::format::disk::fat::ondisk::boot_sector::{BPB_BYTS_PER_SEC, BS_OEM_NAME, SECTOR_SIZES};
use std::collections::BTreeSet;

/// The most logical partitions that are followed; Linux gives no more device names.
const MAX_LOGICAL: u32 = 252;
/// The number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;

/// What the first sector of a disk is.
pub(crate) enum FirstSector {
    /// Nothing that is known: no mark at its end.
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
    if SIGNATURE.get(sector) != SIGNATURE_WORD {
        return FirstSector::Nothing;
    }
    let is_boot = is_boot_sector(sector);
    let flags =
        (1..).zip(entries(sector)).map(|(number, entry)| (number, mbr_sector::BOOT_INDICATOR.get(entry)));
    if let Some((number, flag)) = flags.clone().find(|(_, flag)| flag & !ACTIVE != 0) {
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
    FirstSector::Mbr { disk_id: mbr_sector::DISK_ID.get(sector), partitions }
}

/// Whether it begins like the boot sector of a FAT, NTFS or exFAT: a jump, then where an MBR has code, a sector size.
fn is_boot_sector(sector: &[u8]) -> bool {
    let jumps = matches!(sector, [0xeb, _, 0x90, ..] | [0xe9, ..]);
    let is_exfat = BS_OEM_NAME.get(sector) == *b"EXFAT   ";
    jumps && (is_exfat || SECTOR_SIZES.contains(&BPB_BYTS_PER_SEC.get(sector).into()))
}

/// The partition of an entry, whose sectors count from `base`; `None` when it is empty.
fn partition(number: u32, base: u64, entry: &[u8; ENTRY_LEN]) -> Option<MbrPartition> {
    let (kind, sectors) = (mbr_sector::OS_TYPE.get(entry), u64::from(mbr_sector::SIZE_IN_LBA.get(entry)));
    let start = base + u64::from(mbr_sector::STARTING_LBA.get(entry));
    (kind != 0 && sectors > 0).then_some(MbrPartition {
        number,
        start,
        sectors,
        kind,
        active: mbr_sector::BOOT_INDICATOR.get(entry) == ACTIVE,
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
    let end = disk.sectors().saturating_sub(1);
    let primary: Vec<Place> = partitions.iter().map(MbrPartition::place).collect();
    place::check(&primary, 1, end, &mut problems);
    let extended: Vec<MbrPartition> = partitions.iter().filter(|p| p.is_extended()).cloned().collect();
    if extended.len() > 1 {
        problems.push(Problem::Extended(extended.len()));
    }
    if let Some(extended) = extended.first() {
        let logical = read_logical(disk, extended, &mut problems)?;
        let places: Vec<Place> = logical.iter().map(MbrPartition::place).collect();
        let last = extended.place().last().min(end);
        place::check(&places, extended.start + 1, last, &mut problems);
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
        let Some(sector) = sector.filter(|sector| SIGNATURE.get(sector) == SIGNATURE_WORD) else {
            // An extended partition without any logical one needs no first link.
            problems.extend((at != extended.start).then_some(Problem::ChainEnd(at)));
            return Ok(logical);
        };
        let mut next = None;
        for entry in entries(&sector) {
            if is_extended(mbr_sector::OS_TYPE.get(entry)) {
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
