//! Why a card is not updated, and what is left of it.

use crate::format::disk::fat;
use crate::format::disk::partition_table;
use std::io;

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
