//! Why a container cannot be read.

use super::kind::Kind;
use std::io;

/// A container cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is truncated, or its tables cannot be right.
    #[error("a damaged or truncated {} image: {what}", .kind.name())]
    Damaged {
        /// Which container.
        kind: Kind,
        /// What is wrong.
        what: String,
    },
    /// It is of a form that is not read; the words say what it is and what can be done.
    #[error("a {} image {what}", .kind.name())]
    Unread {
        /// Which container.
        kind: Kind,
        /// What it has, and what to do.
        what: String,
    },
}

impl Error {
    /// A damaged container.
    pub(super) fn damaged(kind: Kind, what: impl Into<String>) -> Self {
        Self::Damaged { kind, what: what.into() }
    }

    /// A container of a form that is not read.
    pub(super) fn unread(kind: Kind, what: impl Into<String>) -> Self {
        Self::Unread { kind, what: what.into() }
    }
}

/// Damage that is met while a disk is read.
pub(super) fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
