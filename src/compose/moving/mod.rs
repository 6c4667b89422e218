//! Moving the bytes of a plan: in ascending order as a [`Source`], or all over a raw file at once.
//!
//! The image is cut into jobs: runs of extents with at most one source of contents among them, read front to back.
//! Workers take jobs in order; each source is streamed, hashed, and compared with its planned tree on the way.

mod ahead;
mod job;
mod raw;

use super::Error;
use super::landing::Settled;
use super::plan::Plan;
use crate::image::write::complete_file::RawFile;
use crate::image::{self, CopyError, Feeder, Piece, Progress, Sink, Source, SourceError};
use ahead::Composed;
use job::{jobs, run};
pub(super) use raw::{Scattered, watch};

/// Why a mover of bytes stopped.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A source is not what was planned.
    #[error(transparent)]
    Source(#[from] Error),
    /// The output could not be written.
    #[error("cannot write at byte {offset}: {source}")]
    Write {
        /// Where in the image.
        offset: u64,
        /// Why.
        source: std::io::Error,
    },
    /// The reader went away or the user interrupted.
    #[error("interrupted")]
    Stopped,
}

impl From<crate::store::Error> for MoveError {
    fn from(error: crate::store::Error) -> Self {
        Self::Source(error.into())
    }
}

/// Takes what a job gives, in ascending order.
pub(super) trait Out {
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), MoveError>;
    fn zeros(&mut self, offset: u64, len: u64) -> Result<(), MoveError>;
}

impl Plan {
    /// The image as a source. Contents are read by `workers` threads ahead of the reader.
    #[must_use]
    pub fn source(&self, workers: usize) -> Box<dyn Source> {
        Box::new(Composed::start(&self.image, workers))
    }

    /// Moves the image into a sink, in order. Where sources have to be decoded, `workers` threads do so ahead of the
    /// sink; files of this machine are read by the caller's thread, straight into the sink.
    pub fn copy<'a>(
        &self,
        sink: Box<dyn Sink + 'a>,
        workers: usize,
        progress: &'a mut dyn Progress,
    ) -> Result<u64, CopyError> {
        let decoding = self.image.stores.iter().any(|store| store.is_packed());
        if decoding {
            return image::copy(&mut *self.source(workers), sink, progress);
        }
        let image = &*self.image;
        let mut direct = Direct { feeder: Feeder::new(sink, progress), failed: None };
        let mut scratch = Vec::new();
        for job in jobs(image, &Settled::default()) {
            match run(image, &job, &mut scratch, &mut direct) {
                Ok(()) => {}
                Err(error) => {
                    return Err(direct
                        .failed
                        .take()
                        .unwrap_or_else(|| CopyError::Source(source_error(error))));
                }
            }
        }
        direct.skip_to(image.len).map_err(|_| direct.failed.take().unwrap_or(CopyError::Interrupted))?;
        direct.feeder.finish()
    }

    /// Writes the image all over a file that reads as zeros but for what has landed on it. `progress` is told how many
    /// mapped bytes are done, a few times a second, and calls the work off by `false`.
    pub fn write_raw(
        &self,
        out: &RawFile,
        workers: usize,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), MoveError> {
        let (nothing, len) = (Settled::default(), self.image.len);
        let emptied = if self.settled.is_none() { out.empty() } else { Ok(()) };
        emptied.and_then(|()| out.set_len(len)).map_err(|source| MoveError::Write { offset: len, source })?;
        raw::write(&self.image, self.settled.as_ref().unwrap_or(&nothing), out, workers, progress)
    }
}

/// Sorts an error of a source by who is to blame.
fn source_error(error: MoveError) -> SourceError {
    match error {
        MoveError::Source(Error::Store(store)) if !store.is_bad_source() => SourceError::Io(Box::new(store)),
        other => SourceError::Bad(Box::new(other)),
    }
}

/// Gives what a job gives straight to a sink.
struct Direct<'a> {
    feeder: Feeder<'a>,
    /// Why the sink stopped, for which a job has no word.
    failed: Option<CopyError>,
}

impl Direct<'_> {
    fn feed(&mut self, piece: Piece<'_>) -> Result<(), MoveError> {
        self.feeder.feed(piece).map_err(|error| {
            self.failed = Some(error);
            MoveError::Stopped
        })
    }

    fn skip_to(&mut self, offset: u64) -> Result<(), MoveError> {
        match offset - self.feeder.position() {
            0 => Ok(()),
            len => self.feed(Piece::Skip(len)),
        }
    }
}

impl Out for Direct<'_> {
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), MoveError> {
        self.skip_to(offset)?;
        self.feed(Piece::Data(bytes))
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<(), MoveError> {
        self.skip_to(offset)?;
        self.feed(Piece::Zeros(len))
    }
}
