//! Why bytes are no archive.

use std::io;

/// An archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream behind it failed, or ended too early.
    #[error("at byte {at}: {source}")]
    Read {
        /// Where in the archive.
        at: u64,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is not a Nix archive, or one that Nix refuses.
    #[error("at byte {at}: {message}")]
    Format {
        /// Where in the archive.
        at: u64,
        /// What was expected and found.
        message: String,
    },
}
