//! How an image is cut, moved and packed: sources, sinks, and the loop between them.
//!
//! A source gives an image once, in ascending order, as pieces of three kinds; a sink takes them in the same order.
//! Neither can seek, so a pipe, a compressor and a card are all sinks.

pub mod beside;
pub mod file;
pub mod foreign;
pub mod open;
pub mod pack;
pub mod raw;
pub mod sparse;
pub mod stream;
mod zst;

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

/// Something that takes an image in ascending order.
pub trait Sink {
    /// Takes bytes.
    fn data(&mut self, bytes: &[u8]) -> Result<(), SinkError>;

    /// Takes zeros that a reader may rely on.
    fn zeros(&mut self, len: u64) -> Result<(), SinkError>;

    /// Takes a range whose bytes do not matter.
    fn skip(&mut self, len: u64) -> Result<(), SinkError> {
        self.zeros(len)
    }

    /// Completes the output; what was taken is durable where the sink can promise that.
    fn finish(self: Box<Self>) -> Result<(), SinkError>;
}

/// The most zeros that are moved between two looks at the progress, in bytes.
const STEP: u64 = 16 << 20;

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

/// A sink failed.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The target could not be written.
    #[error("cannot write {target}: {source}")]
    Io {
        /// What was written to, as the user named it.
        target: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Moving an image failed, on one side or the other, or was called off.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The sink failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// Sees how far a copy has come, and may call it off.
pub trait Progress {
    /// The image is complete up to byte `position`; `false` calls the copy off.
    fn at(&mut self, position: u64) -> bool;
}

/// Feeds a sink and tells the progress; gigabytes of zeros go in steps, so that they can be interrupted.
pub struct Feeder<'a> {
    sink: Box<dyn Sink + 'a>,
    progress: &'a mut dyn Progress,
    position: u64,
}

impl<'a> Feeder<'a> {
    /// Begins at the first byte of an image.
    pub fn new(sink: Box<dyn Sink + 'a>, progress: &'a mut dyn Progress) -> Self {
        Self { sink, progress, position: 0 }
    }

    /// How many bytes were fed.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Feeds a piece.
    pub fn feed(&mut self, piece: Piece<'_>) -> Result<(), CopyError> {
        let mut left = match piece {
            Piece::Data(bytes) => {
                self.sink.data(bytes)?;
                return self.advance(crate::num::to_u64(bytes.len()));
            }
            Piece::Zeros(len) | Piece::Skip(len) => len,
        };
        while left > 0 {
            let step = left.min(STEP);
            match piece {
                Piece::Skip(_) => self.sink.skip(step)?,
                _ => self.sink.zeros(step)?,
            }
            left -= step;
            self.advance(step)?;
        }
        Ok(())
    }

    fn advance(&mut self, len: u64) -> Result<(), CopyError> {
        self.position += len;
        if self.progress.at(self.position) { Ok(()) } else { Err(CopyError::Interrupted) }
    }

    /// Completes the sink and gives the length of the image.
    pub fn finish(self) -> Result<u64, CopyError> {
        self.sink.finish()?;
        Ok(self.position)
    }
}

/// Moves all of a source into a sink and completes it.
pub fn copy<'a>(
    source: &mut dyn Source,
    sink: Box<dyn Sink + 'a>,
    progress: &'a mut dyn Progress,
) -> Result<u64, CopyError> {
    let mut feeder = Feeder::new(sink, progress);
    while let Some(piece) = source.next()? {
        feeder.feed(piece)?;
    }
    feeder.finish()
}
