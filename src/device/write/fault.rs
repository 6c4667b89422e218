//! What can go wrong while a card is written, and what is left of it.

use crate::device::read_back::differences::Differences;
use std::fmt;
use std::io;

/// Writing a card failed.
#[derive(Debug, thiserror::Error)]
#[error("{target}: {fault}; {left}")]
pub struct Error {
    /// The card.
    pub target: String,
    /// What went wrong.
    #[source]
    pub fault: Fault,
    /// What is left of the card.
    pub left: Left,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A write failed.
    #[error("cannot write {len} bytes at byte {offset}")]
    Write {
        /// Where.
        offset: u64,
        /// How many.
        len: u64,
        /// Why.
        source: io::Error,
    },
    /// The card takes no more: it is shorter than it says, or the file system of the file is full.
    #[error("there is no room at byte {offset}")]
    Full {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// A read failed.
    #[error("cannot read at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// A flush failed; what was written before may be lost.
    #[error("cannot flush, so what was written may be lost")]
    Flush {
        /// Why.
        source: io::Error,
    },
    /// The card is not there any more.
    #[error("the card has gone")]
    Vanished {
        /// How that was seen.
        source: io::Error,
    },
    /// A page that was written holds something else.
    #[error("byte {offset} does not keep what is written there: the card is counterfeit or failing")]
    Counterfeit {
        /// Where.
        offset: u64,
    },
    /// What was read back is not what was written.
    #[error("verification failed, there are differences: {0}")]
    Differs(Differences),
    /// The image does not fit.
    #[error("the image is longer than the target, which has {len} bytes")]
    TooLong {
        /// The length of the target.
        len: u64,
    },
    /// The table of the image counts in other sectors.
    #[error("the target has sectors of {found} bytes, the image is made for sectors of {expected} bytes")]
    Sector {
        /// Of the image.
        expected: u64,
        /// Of the target.
        found: u64,
    },
    /// There is nothing to write.
    #[error("the image is empty")]
    Empty,
    /// The source failed.
    #[error("the source failed")]
    Source,
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// A thread ended in a way that it never should.
    #[error("the thread that writes it ended unexpectedly")]
    Lost,
}

/// What is left of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// What was on it before.
    Untouched,
    /// No partition table: it does not boot.
    Unbootable,
    /// A part of the image in a file.
    PartOfFile,
    /// Nobody knows: the card did not take the wiping of its table.
    Unknown,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untouched => "nothing was written to it",
            Self::Unbootable => "it has no partition table now and does not boot",
            Self::PartOfFile => "the file is not complete",
            Self::Unknown => "its partition table could not be wiped: do not trust it",
        })
    }
}
