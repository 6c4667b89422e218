//! A plan is carried out.

use super::ahead::Composed;
use super::in_place::Settled;
use super::job::jobs;
use super::job::run;
use super::out::MoveError;
use super::out::Out;
use super::out::source_error;
use super::raw;
use crate::compose::plan::image::Plan;
use crate::image;
use crate::image::CopyError;
use crate::image::Feeder;
use crate::image::Piece;
use crate::image::Progress;
use crate::image::Sink;
use crate::image::Source;
use crate::image::write::complete_file::RawFile;

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

/// Gives what a job gives straight to a sink.
pub(super) struct Direct<'a> {
    pub(super) feeder: Feeder<'a>,
    /// Why the sink stopped, for which a job has no word.
    pub(super) failed: Option<CopyError>,
}

impl Direct<'_> {
    pub(super) fn feed(&mut self, piece: Piece<'_>) -> Result<(), MoveError> {
        self.feeder.feed(piece).map_err(|error| {
            self.failed = Some(error);
            MoveError::Stopped
        })
    }

    pub(super) fn skip_to(&mut self, offset: u64) -> Result<(), MoveError> {
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
