//! What the guard says of a target, and in which words.

use super::signatures::Member;
use crate::sizes::show_bytes;
use std::fmt;
use std::path::{Path, PathBuf};

/// Whether the target may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allowed,
    /// Only if the user says so, knowing these.
    NeedsConfirmation {
        /// Why, in the order of the table.
        reasons: Vec<Reason>,
        /// What the user has to give.
        proof: Proof,
    },
    /// It may not.
    Refused(Refusal),
}

/// What a user has to give to confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// A yes.
    Yes,
    /// The model or serial number; the path where a disk has neither.
    Identity,
}

/// Why a confirmation is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What is on it is lost.
    Overwritten,
    /// It is mounted and will be unmounted.
    Unmounts(Vec<PathBuf>),
    /// It is not removable.
    NotRemovable,
    /// It is larger than cards are.
    Large(u64),
    /// It is a file of this machine.
    Loop,
    /// It is a part of something larger.
    Member {
        /// The device with the sign.
        device: String,
        /// What it says.
        member: Member,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overwritten => f.write_str("all that is on it will be lost"),
            Self::Unmounts(at) => write!(f, "it is mounted at {} and will be unmounted", list(at)),
            Self::NotRemovable => f.write_str("it is not removable"),
            Self::Large(size) => write!(f, "it has {}, more than a card has", show_bytes(*size)),
            Self::Loop => f.write_str("it is a loop device, a file of this machine"),
            Self::Member { device, member } => write!(f, "{device} is {member}"),
        }
    }
}

/// Why a target may not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A typing error would have become a file.
    #[error("{0} does not exist, and no file is made below /dev")]
    NoSuchDevice(String),
    /// A regular file where devices are.
    #[error("{0} is a regular file below /dev, left there by a mistake")]
    FileBelowDev(String),
    /// Neither disk nor file.
    #[error("{path} is {kind}, expected a disk or a regular file")]
    NotATarget {
        /// The target.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A partition.
    #[error("{path} is a partition, expected the whole disk: {disk}")]
    Partition {
        /// The target.
        path: String,
        /// Its disk.
        disk: String,
    },
    /// The system runs from it.
    #[error("{path} is a disk of this system: {what}")]
    System {
        /// The target.
        path: String,
        /// What lies on it.
        what: String,
    },
    /// What is read lies on it.
    #[error("{0} holds what is to be written")]
    Source(String),
    /// The kernel refuses writes.
    #[error("{0} is read-only; a card may have a lock switch")]
    ReadOnly(String),
    /// A reader without a card.
    #[error("{0} has no medium: its size is 0")]
    Empty(String),
    /// The image's table counts in other sectors.
    #[error("{path} has sectors of {found} bytes, the image is made for sectors of {expected} bytes")]
    Sector {
        /// The target.
        path: String,
        /// Of the image.
        expected: u32,
        /// Of the target.
        found: u32,
    },
    /// Somebody uses it.
    #[error("{path} is in use: {what}")]
    InUse {
        /// The target.
        path: String,
        /// By whom.
        what: String,
    },
    /// It is mounted.
    #[error("{path} is mounted at {at}")]
    Mounted {
        /// The target.
        path: String,
        /// Where.
        at: String,
    },
    /// The image does not fit.
    #[error("{path} has {size} bytes, the image needs {need}")]
    TooSmall {
        /// The target.
        path: String,
        /// Its size.
        size: u64,
        /// The image's.
        need: u64,
    },
    /// What was typed names another disk.
    #[error("{path} is not {typed:?}")]
    WrongIdentity {
        /// The target.
        path: String,
        /// What was typed.
        typed: String,
    },
}

pub(super) fn list(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> String {
    let paths: Vec<_> = paths.into_iter().map(|path| path.as_ref().display().to_string()).collect();
    paths.join(", ")
}
