//! Which bytes of a file system hold something: told by its own maps, taken in as they pass.
//!
//! Only used to leave out zeros that nobody will read, so every doubt is decided for "holds something": a feature that
//! is not known, a checksum that is wrong, a map that comes after what it describes.

/// A run of bytes that are alike in whether they matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whether they hold something.
    pub matters: bool,
    /// Where the run ends, in bytes from the start of the file system.
    pub end: u64,
}

/// A piece of a map: where it is, in bytes from the start of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// Where it begins.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// The maps of a file system.
pub trait Usage: Send {
    /// Takes a piece that was wanted, and tells which others are wanted now.
    fn take(&mut self, want: Want, bytes: &[u8]) -> Vec<Want>;

    /// Whether the byte at `offset` matters, and up to where that holds.
    fn run(&self, offset: u64) -> Run;

    /// Nothing before `offset` will be asked for any more.
    fn forget(&mut self, offset: u64);
}
