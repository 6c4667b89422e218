//! Why an image cannot be opened.

use crate::format::disk::container;
use crate::format::file::bmap;
use crate::format::file::sums::BadSum;
use crate::net;
use std::io;

/// An image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {name}: {source}")]
    Io {
        /// The image, as the user named it.
        name: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Its bytes are not those that were promised.
    #[error("{name}: {source}")]
    Other {
        /// The image, as the user named it.
        name: String,
        /// What was found, and who promised.
        source: io::Error,
    },
    /// It is something else.
    #[error("{name} is {kind}, expected a disk image")]
    Foreign {
        /// The image, as the user named it.
        name: String,
        /// What it is.
        kind: String,
    },
    /// It begins as nothing that a card could hold.
    #[error("{name} has neither a partition table nor a file system, expected a disk image")]
    Unknown {
        /// The image.
        name: String,
    },
    /// It ends before what is in it does.
    #[error("{name} has {found} bytes, but {what} reaches to byte {needed}: it is incomplete")]
    Short {
        /// The image.
        name: String,
        /// Its length in bytes.
        found: u64,
        /// What says how long it must be.
        what: &'static str,
        /// How long it must be, in bytes.
        needed: u64,
    },
    /// It is damaged from the start.
    #[error("{name}: damaged or truncated {kind} stream: {source}")]
    Stream {
        /// The image, as the user named it.
        name: String,
        /// How it is packed.
        kind: &'static str,
        /// What the decoder says.
        source: io::Error,
    },
    /// It is a container that cannot be read.
    #[error("{name} is {source}")]
    Container {
        /// The image, as the user named it.
        name: String,
        /// Why.
        source: container::Error,
    },
    /// The server does not give it.
    #[error("{name}: {source}")]
    Http {
        /// The address, without a login.
        name: String,
        /// What the network or the server says.
        source: net::Error,
    },
    /// What stands beside it cannot be used.
    #[error("{name}: {source}")]
    BlockMap {
        /// The block map.
        name: String,
        /// What is wrong with the map.
        source: bmap::Error,
    },
    /// What stands beside it cannot be used.
    #[error("{name}: {source}")]
    Sum {
        /// The file with the hash.
        name: String,
        /// What is wrong with its text.
        source: BadSum,
    },
}

impl Error {
    /// Whether the image itself is at fault, and not this machine or its network.
    #[must_use]
    pub const fn is_bad_source(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// A failure to read an image.
pub(super) fn io_error(name: &str, source: io::Error) -> Error {
    Error::Io { name: name.to_owned(), source }
}
