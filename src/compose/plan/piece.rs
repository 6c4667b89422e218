//! A piece of a file at its place.

/// A piece of a file at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where in the image.
    pub offset: u64,
    /// Which file of its source.
    pub file: u32,
    /// Where in the file.
    pub at: u64,
    /// Bytes of it.
    pub len: u64,
}
