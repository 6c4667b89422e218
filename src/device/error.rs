//! Why a disk cannot be listed, judged or opened.

use std::io;

/// The system's view of its devices cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Disks cannot be listed.
    #[error("cannot list disks")]
    List(#[source] blockdev::BlockDevError),
    /// Mounts cannot be listed; without them no disk is safe.
    #[error("cannot tell what is mounted")]
    Mounts(#[source] io::Error),
    /// A target cannot be looked at.
    #[error("cannot look at {path}")]
    Path {
        /// The target.
        path: String,
        /// Why.
        source: io::Error,
    },
}
