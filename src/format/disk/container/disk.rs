//! A disk inside a container.

use crate::stream::ReadAt;
use std::io;

/// Bytes that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many, in bytes; never 0.
    pub len: u64,
    /// Whether they are stored; if not, they are zeros.
    pub stored: bool,
}

/// A disk that can be read at any place, whose zeros are known without reading them.
pub trait Disk: ReadAt + Send + Sync {
    /// What begins at `offset`, which lies within the disk. An error of kind `InvalidData` where a table is damaged.
    fn run(&self, offset: u64) -> io::Result<Run>;

    /// Whether the tables of the whole disk can be right: each stored block lies within the file, and all of them have
    /// room in it. Reads tables only.
    ///
    /// # Errors
    /// Of kind `InvalidData`, with what is wrong in words.
    fn check(&self) -> io::Result<()>;
}

/// The longest disk that is read, in bytes: 16 TiB.
pub(super) const MAX_LEN: u64 = 1 << 44;
