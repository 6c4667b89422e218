//! Replaces the boot files of a card that is in use by its owner, so that it boots at every moment: the old ones, or
//! all of the new ones.
//!
//! A FAT cannot change many files at once, but one sector of the partition table can. So a second, small volume with
//! all that the first one is to hold is made in its free clusters, and then:
//!
//! ```text
//! start      table -> old volume      [ old files .............. | free           ]
//! 1 write    table -> old volume      [ old files .............. | second volume  ]   flushed, read back
//! 2 switch   table -> second volume   one sector
//! 3 write    table -> second volume   [ new volume ............. | second volume  ]   flushed, read back
//! 4 switch   table -> new volume      the sector as it was at the start
//! ```
//! Each volume that the table points to is whole whenever it does, and nothing that it uses is written. A card that is
//! pulled between 2 and 4 boots the new files from the second volume, which says where the first one was: the next
//! run goes on with 3.

mod changes;
mod moving;
mod place;
mod volume;

pub use changes::{Change, ChangeKind, ConfigChange};
pub use moving::Report;

use crate::board::Board;
use crate::device::Reader;
use crate::device::disk::Disk;
use crate::format::disk::fat;
use crate::format::disk::partition_table;
use crate::format::disk::partition_table::Table;
use crate::num;
use crate::tree::Node;
use changes::Changes;
use place::Places;
use std::io;

/// What becomes of a config.txt that its owner has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Config {
    /// It stays.
    Keep,
    /// The board's takes its place.
    Replace,
}

/// The boot files that a card is to hold.
pub struct Wanted<'a> {
    /// The board.
    pub board: &'a Board,
    /// Their absolute paths on the FAT, and their contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// The packages that they are from, as a manifest has them.
    pub packages: serde_json::Map<String, serde_json::Value>,
    /// What becomes of a changed config.txt.
    pub config: Config,
    /// The time that new files carry, seconds since 1970.
    pub epoch: u32,
}

/// A card cannot be updated, or could not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The board has no files that an update could replace.
    #[error("{board} cannot be updated so that it boots at every moment: {why}")]
    Board {
        /// The board.
        board: String,
        /// Why.
        why: &'static str,
    },
    /// The card is not laid out as this board's are.
    #[error("this is no card for {board}: {why}")]
    Card {
        /// The board.
        board: String,
        /// What was expected and what was found.
        why: String,
    },
    /// The FAT cannot be read, or is damaged.
    #[error("the FAT with boot files: {0}")]
    Volume(#[from] fat::read::Error),
    /// The new FAT cannot be made.
    #[error("the FAT with boot files: {0}")]
    Fat(#[from] fat::Error),
    /// There is no room for the old files and the new ones at once.
    #[error(
        "no room to keep the old boot files until the new ones are whole: {needed} are needed in one free piece \
         from byte {from} of the FAT on, the largest there has {largest}"
    )]
    Room {
        /// Bytes needed, for people.
        needed: String,
        /// Where pieces count.
        from: u64,
        /// The largest free piece, for people.
        largest: String,
    },
    /// A config.txt that stays starts what goes.
    #[error(
        "config.txt was changed by its owner and stays, but {line:?} needs a file that the new firmware does not have"
    )]
    Config {
        /// The line.
        line: String,
    },
    /// The partition table cannot be read.
    #[error(transparent)]
    Table(#[from] partition_table::ReadError),
    /// The card failed.
    #[error("{what}: {source}; {left}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why.
        source: io::Error,
        /// What the card boots now.
        left: Left,
    },
    /// What was read back is not what was written.
    #[error("{what} is not on the card as it was written; {left}")]
    Differs {
        /// What was read back.
        what: String,
        /// What the card boots now.
        left: Left,
    },
    /// The user wants to stop.
    #[error("interrupted; {0}")]
    Interrupted(Left),
}

/// What a card boots after an update that did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The old files.
    Old,
    /// The new files, from where they were written for the time being.
    New,
    /// The one or the other: the sector that decides was being written.
    Either,
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Old => "the card boots its old files",
            Self::New => {
                "the card boots the new files; run the same command again to put them at their place"
            }
            Self::Either => {
                "the card boots its old files or the new ones, all of one kind; run the same command again"
            }
        })
    }
}

/// Where the contents of a file of a new volume are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The file of that index among the new ones.
    New(u32),
    /// The file of that index among those that stay, on the volume before.
    Kept(u32),
}

/// Every decision about an update.
pub struct Plan {
    changes: Changes,
    places: Places,
    /// The first sector of the disk as it is.
    sector: Vec<u8>,
    /// The index of the partition's entry in it.
    entry: usize,
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
        self.places.bytes() + switches * num::to_u64(crate::device::disk::ALIGN)
    }
}

/// The first sector of a disk, in bytes.
const SECTOR: usize = 512;

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
    let entry = num::to_usize(u64::from(number)) - 1;
    Ok(Plan { changes, places, sector, entry })
}

/// Types of partitions that hold a FAT.
const FAT_TYPES: [u8; 6] = [0x04, 0x06, 0x0b, 0x0c, 0x0e, 0xef];

/// A tree whose files are new or stay.
type Tree = Node<Content>;
