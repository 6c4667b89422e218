//! What an update will write, decided before anything is written.

use super::change::Change;
use super::change::Changes;
use super::change::ConfigChange;
use super::changes;
use super::error::Error;
use super::place;
use super::place::Places;
use super::request::Wanted;
use super::volume;
use crate::device::Reader;
use crate::device::disk::Disk;
use crate::format::disk::partition_table;
use crate::format::disk::partition_table::Table;
use crate::ints;
use crate::update::fat_types::FAT_TYPES;
use crate::update::fat_types::SECTOR;

/// Every decision about an update.
pub struct Plan {
    pub(super) changes: Changes,
    pub(super) places: Places,
    /// The first sector of the disk as it is.
    pub(super) sector: Vec<u8>,
    /// The index of the partition's entry in it.
    pub(super) entry: usize,
}

impl Plan {
    /// What changes, sorted by path; files that stay as they are and are not the board's are left out.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes.list
    }

    /// What becomes of config.txt.
    #[must_use]
    pub const fn config(&self) -> &ConfigChange {
        &self.changes.config
    }

    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        !self.places.interrupted && self.changes.is_empty()
    }

    /// Whether an update that was cut short is being finished.
    #[must_use]
    pub const fn resumes(&self) -> bool {
        self.places.interrupted
    }

    /// Bytes that are going to be written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let switches = 1 + u64::from(self.places.second.is_some());
        self.places.bytes() + switches * ints::to_u64(crate::device::disk::ALIGN)
    }
}

/// Decides everything; reads the card, writes nothing.
pub fn plan(disk: &dyn Disk, wanted: Wanted<'_>) -> Result<Plan, Error> {
    let board = wanted.board;
    let refuse = |why| Error::Board { board: board.name.clone(), why };
    if !board.raws.is_empty() {
        return Err(refuse(
            "its boot loader lies outside of all file systems, where it cannot be changed at once",
        ));
    }
    if board.files.is_empty() && board.config_txt.is_none() {
        return Err(refuse("it has no boot files of its own, all are the system's"));
    }
    let reader = Reader::new(disk);
    let reading = partition_table::read(&reader)?;
    let card = |why: &str| Error::Card { board: board.name.clone(), why: why.to_owned() };
    let Some(Table::Mbr(table)) = &reading.table else {
        return Err(card("expected a DOS partition table, of which one sector says all"));
    };
    if let Some(problem) = reading.problems.first() {
        return Err(card(&format!("its partition table is damaged: {problem}")));
    }
    let number = board.boot_fat().map_or(1, |(number, _)| number);
    let spans = reading.places();
    let span = spans.iter().find(|span| span.number == number);
    let span = span.ok_or_else(|| card(&format!("it has no partition {number}")))?;
    if !table.partitions.iter().any(|p| p.number == number && FAT_TYPES.contains(&p.kind)) {
        return Err(card(&format!("its partition {number} is not of a FAT's type")));
    }
    let current = volume::open(&reader, *span)?;
    if !current.has("/config.txt") {
        return Err(card(&format!("its partition {number} has no config.txt")));
    }
    let changes = changes::decide(&current, wanted)?;
    let places = place::decide(&current, &changes, &spans, *span)?;
    let mut sector = vec![0; SECTOR];
    volume::read(&reader, &mut sector, 0)?;
    let entry = ints::to_usize(u64::from(number)) - 1;
    Ok(Plan { changes, places, sector, entry })
}
