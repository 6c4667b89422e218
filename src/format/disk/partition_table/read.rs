//! Tables out of bytes that anyone may have written: every read is bounded, every sum checked.

use super::mbr::FirstSector;
use super::{Mbr, Problem, SectorSize, Table, gpt, mbr};
use crate::num;
use crate::stream::ReadAt;
use std::io;
use uuid::Uuid;

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

/// Where a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its number in the table.
    pub number: u32,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl Reading {
    /// Where the partitions are, those left out that only hold others.
    #[must_use]
    pub fn places(&self) -> Vec<Span> {
        let bytes = self.sector.bytes();
        let place = |number, start: u64, sectors: u64| Span {
            number,
            start: start.saturating_mul(bytes),
            len: sectors.saturating_mul(bytes),
        };
        match &self.table {
            Some(Table::Gpt(gpt)) => {
                gpt.partitions.iter().map(|p| place(p.number, p.start, p.sectors)).collect()
            }
            Some(Table::Mbr(mbr)) => {
                let real = mbr.partitions.iter().filter(|p| !p.is_extended());
                real.map(|p| place(p.number, p.start, p.sectors)).collect()
            }
            None => Vec::new(),
        }
    }
}

/// The disk could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the partition table at byte {offset}: {source}")]
pub struct ReadError {
    /// Where.
    pub offset: u64,
    /// Why.
    pub source: io::Error,
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// Reads the table of a disk whose sector size is not known: 4096 bytes if there is a GPT that says so, else 512.
pub fn read(disk: &dyn ReadAt) -> Result<Reading, ReadError> {
    let reading = read_with(disk, SectorSize::S512)?;
    if matches!(reading.table, Some(Table::Gpt(_))) {
        return Ok(reading);
    }
    let other = read_with(disk, SectorSize::S4096)?;
    Ok(if matches!(other.table, Some(Table::Gpt(_))) { other } else { reading })
}

/// Reads the table of a disk. No sum of the start and the length of a partition overflows, in sectors or in bytes.
pub fn read_with(disk: &dyn ReadAt, sector: SectorSize) -> Result<Reading, ReadError> {
    let disk = Disk { inner: disk, sector };
    let Some(first) = disk.sector(0)? else {
        return Ok(Reading { table: None, sector, problems: Vec::new() });
    };
    let first = mbr::first_sector(&first);
    let is_protective = matches!(&first, FirstSector::Protective { .. });
    let found = gpt::read(&disk, is_protective)?;
    let (table, problems) = match (first, found.gpt) {
        (FirstSector::Protective { others }, Some(gpt)) => {
            let hybrid = (others > 0).then_some(Problem::Hybrid);
            (Some(Table::Gpt(gpt)), found.problems.into_iter().chain(hybrid).collect())
        }
        (FirstSector::Protective { .. }, None) => {
            (None, found.problems.into_iter().chain([Problem::NoGpt]).collect())
        }
        (FirstSector::Nothing, Some(gpt)) => (Some(Table::Gpt(gpt)), unprotected(found.problems)),
        (FirstSector::Mbr { partitions, .. }, Some(gpt)) if partitions.is_empty() => {
            (Some(Table::Gpt(gpt)), unprotected(found.problems))
        }
        (other, stale) => {
            let (table, mut problems) = without_gpt(&disk, other)?;
            problems.extend(stale.map(|_| Problem::StaleGpt(gpt::PRIMARY_LBA)));
            (table, problems)
        }
    };
    Ok(Reading { table, sector, problems })
}

fn unprotected(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.push(Problem::NoProtectiveMbr);
    problems
}

fn without_gpt(disk: &Disk<'_>, first: FirstSector) -> Result<(Option<Table>, Vec<Problem>), ReadError> {
    match first {
        FirstSector::Mbr { disk_id, partitions } => {
            let (partitions, problems) = mbr::read(disk, partitions)?;
            Ok((Some(Table::Mbr(Mbr { disk_id, partitions })), problems))
        }
        FirstSector::Bad(problem) => Ok((None, vec![problem])),
        FirstSector::Nothing | FirstSector::FileSystem | FirstSector::Protective { .. } => {
            Ok((None, Vec::new()))
        }
    }
}

/// A disk in sectors.
pub(crate) struct Disk<'a> {
    inner: &'a dyn ReadAt,
    sector: SectorSize,
}

impl Disk<'_> {
    /// How many whole sectors there are.
    pub fn sectors(&self) -> u64 {
        self.inner.size() / self.sector.bytes()
    }

    /// Bytes of a sector.
    pub const fn sector_bytes(&self) -> u64 {
        self.sector.bytes()
    }

    /// A sector, `None` when it is not on the disk.
    pub fn sector(&self, lba: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.bytes(lba, self.sector.bytes())
    }

    /// So many bytes from a sector on, `None` when they are not all on the disk. The caller bounds `len`.
    pub fn bytes(&self, lba: u64, len: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(offset) = lba.checked_mul(self.sector.bytes()) else { return Ok(None) };
        if offset.checked_add(len).is_none_or(|end| end > self.inner.size()) {
            return Ok(None);
        }
        let mut bytes = vec![0; num::to_usize(len)];
        self.inner.read_exact_at(&mut bytes, offset).map_err(|source| ReadError { offset, source })?;
        Ok(Some(bytes))
    }
}

/// A place of a partition: number, first sector, last sector.
pub(crate) type Place = (u32, u64, u64);

/// Checks where partitions are.
pub(crate) fn check_places(places: &[Place], first: u64, end: u64, problems: &mut Vec<Problem>) {
    for (number, start, last) in places.iter().copied() {
        if start < first || last > end {
            problems.push(Problem::Outside { number, start, last, first, end });
        }
    }
    let mut sorted: Vec<_> = places.iter().map(|(number, start, last)| (*start, *last, *number)).collect();
    sorted.sort_unstable();
    // The one that reaches farthest so far: a long partition may cover several.
    let mut far: Option<(u64, u64, u32)> = None;
    for place in sorted {
        match far {
            Some((_, last, number)) if place.0 <= last => problems.push(Problem::Overlap(number, place.2)),
            _ => {}
        }
        if far.is_none_or(|(_, last, _)| place.1 > last) {
            far = Some(place);
        }
    }
}

/// Little-endian fields; what is beyond the end is zero.
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u32::from_le_bytes(*field))
}

/// See [`le32`].
pub(crate) fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u64::from_le_bytes(*field))
}

/// See [`le32`].
pub(crate) fn guid(bytes: &[u8], at: usize) -> Uuid {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(Uuid::nil(), |field| Uuid::from_bytes_le(*field))
}
