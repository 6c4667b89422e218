//! The loop between a source and a sink.

use super::sink::Sink;
use super::sink::SinkError;
use super::source::Piece;
use super::source::Source;
use super::source::SourceError;

/// The most zeros that are moved between two looks at the progress, in bytes.
pub(super) const STEP: u64 = 16 << 20;
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
    pub(super) sink: Box<dyn Sink + 'a>,
    pub(super) progress: &'a mut dyn Progress,
    pub(super) position: u64,
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
                return self.advance(crate::ints::to_u64(bytes.len()));
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

    pub(super) fn advance(&mut self, len: u64) -> Result<(), CopyError> {
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
