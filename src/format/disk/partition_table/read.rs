//! Tables out of bytes that anyone may have written: every read is bounded, every sum checked.

use super::disk::{Disk, ReadError};
use super::gpt;
use super::gpt_header::PRIMARY_LBA;
use super::mbr::{self, FirstSector};
use super::problem::Problem;
use super::table::{Mbr, SectorSize, Table};
use crate::stream::ReadAt;

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
            problems.extend(stale.map(|_| Problem::StaleGpt(PRIMARY_LBA)));
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
