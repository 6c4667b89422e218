//! Where pieces of an image go, and why they cannot.

use crate::compose::error::Error;
use crate::image::SourceError;

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
pub(crate) trait Out {
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), MoveError>;
    fn zeros(&mut self, offset: u64, len: u64) -> Result<(), MoveError>;
}

/// Sorts an error of a source by who is to blame.
pub(super) fn source_error(error: MoveError) -> SourceError {
    match error {
        MoveError::Source(Error::Store(store)) if !store.is_bad_source() => SourceError::Io(Box::new(store)),
        other => SourceError::Bad(Box::new(other)),
    }
}
