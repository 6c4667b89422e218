//! A raw file that is written in order: zeros become holes.

use crate::image::sink::{Sink, SinkError};
use crate::ints;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Writes data at its place, and sets the length at the end.
pub struct Raw {
    file: File,
    target: String,
    position: u64,
}

impl Raw {
    /// Writes to a new, empty file, which is called `target` in errors.
    pub fn new(file: File, target: &str) -> Self {
        Self { file, target: target.to_owned(), position: 0 }
    }

    fn failed(&self, source: std::io::Error) -> SinkError {
        SinkError::Io { target: self.target.clone(), source }
    }
}

impl Sink for Raw {
    fn data(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.file.write_all_at(bytes, self.position).map_err(|source| self.failed(source))?;
        self.position += ints::to_u64(bytes.len());
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> Result<(), SinkError> {
        self.position += len;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        self.file.set_len(self.position).map_err(|source| self.failed(source))
    }
}
