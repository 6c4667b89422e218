//! A disk in a container, as an image: what is not stored is zeros that need not be read.

use super::stream;
use crate::format::disk::container::Disk;
use crate::image::source::{Piece, Source, SourceError};
use crate::ints;
use std::io;

/// Bytes read at a time.
const CHUNK: u64 = 1 << 20;

/// The image.
pub struct Inside {
    disk: Box<dyn Disk>,
    position: u64,
    chunk: Vec<u8>,
    at: usize,
}

impl Inside {
    /// Reads a disk from its start.
    #[must_use]
    pub fn new(disk: Box<dyn Disk>) -> Self {
        Self { disk, position: 0, chunk: Vec::new(), at: 0 }
    }

    /// How many of the next bytes are zeros that are not stored; if none, some that are stored are read.
    fn fill(&mut self) -> io::Result<u64> {
        let most = CHUNK.min(self.disk.size() - self.position);
        let (mut zeros, mut stored) = (0, 0);
        // Blocks are shorter than a chunk.
        while zeros == 0 && stored < most {
            let run = self.disk.run(self.position + stored)?;
            match (run.stored, stored) {
                (true, _) => stored = most.min(stored + run.len),
                (false, 0) => zeros = run.len,
                (false, _) => break,
            }
        }
        self.chunk.resize(ints::to_usize(stored), 0);
        self.at = 0;
        self.disk.read_exact_at(&mut self.chunk, self.position)?;
        self.position += zeros;
        Ok(zeros)
    }
}

/// What cannot be decoded is bad; what cannot be read may be read later.
fn failed(error: io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => SourceError::Bad(error.into()),
        _ => SourceError::Io(error.into()),
    }
}

impl Source for Inside {
    fn len(&self) -> Option<u64> {
        Some(self.disk.size())
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        if self.at == self.chunk.len() {
            if self.position == self.disk.size() {
                return Ok(None);
            }
            let zeros = self.fill().map_err(failed)?;
            if zeros > 0 {
                return Ok(Some(Piece::Zeros(zeros)));
            }
        }
        let (is_zeros, len) = stream::run(&self.chunk[self.at..]);
        let from = self.at;
        self.at += len;
        self.position += ints::to_u64(len);
        Ok(Some(if is_zeros {
            Piece::Zeros(ints::to_u64(len))
        } else {
            Piece::Data(&self.chunk[from..self.at])
        }))
    }
}
