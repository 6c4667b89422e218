//! Where an image comes from, piece by piece.

use std::error::Error as StdError;

/// What the next bytes of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes, lent by the source.
    Data(&'a [u8]),
    /// That many zeros, which a reader may rely on.
    Zeros(u64),
    /// That many bytes that nobody will read: unallocated blocks. A file leaves a hole; a pipe gets zeros.
    Skip(u64),
}

/// An image that can be read once, from its first byte to its last.
pub trait Source {
    /// The length in bytes, where it is known before the end.
    fn len(&self) -> Option<u64>;

    /// The next piece, or `None` at the end. Pieces are never empty.
    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError>;

    /// Whether the image is known to have no bytes.
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn len(&self) -> Option<u64> {
        (**self).len()
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        (**self).next()
    }
}

/// A source failed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The input is not what it should be: truncated, wrong hash, wrong format.
    #[error(transparent)]
    Bad(Box<dyn StdError + Send + Sync>),
    /// The input could not be read.
    #[error(transparent)]
    Io(Box<dyn StdError + Send + Sync>),
}
