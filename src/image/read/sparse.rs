//! A raw image in a file: its holes are zeros that need not be read.

use crate::image::source::{Piece, Source, SourceError};
use crate::ints;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// A file as an image.
pub struct Sparse {
    file: File,
    len: u64,
    position: u64,
    /// Where the data end that the position is in; at most the position when that is not known.
    data_end: u64,
    chunk: Vec<u8>,
    filled: usize,
    at: usize,
}

impl Sparse {
    /// Reads `len` bytes of a file from its start.
    #[must_use]
    pub fn new(file: File, len: u64) -> Self {
        Self { file, len, position: 0, data_end: 0, chunk: vec![0; CHUNK], filled: 0, at: 0 }
    }

    /// Where the next data begin, at or behind the position. A file system without holes has data everywhere.
    fn seek_data(&mut self) -> u64 {
        let seek = |at: u64, whence| {
            let found = lseek(&self.file, i64::try_from(at).unwrap_or(i64::MAX), whence);
            found.ok().and_then(|at| u64::try_from(at).ok())
        };
        // Behind the last data there is none, and the answer is an error: then all is a hole if the end is one.
        match seek(self.position, Whence::SeekData) {
            Some(data) => {
                self.data_end = seek(data, Whence::SeekHole).unwrap_or(self.len).min(self.len);
                data.min(self.len)
            }
            None if seek(self.position, Whence::SeekHole) == Some(self.position) => self.len,
            None => {
                self.data_end = self.len;
                self.position
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let want = ints::to_usize((self.data_end.min(self.len) - self.position).min(ints::to_u64(CHUNK)));
        self.file.read_exact_at(&mut self.chunk[..want], self.position)?;
        (self.filled, self.at) = (want, 0);
        Ok(())
    }
}

impl Source for Sparse {
    fn len(&self) -> Option<u64> {
        Some(self.len)
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        if self.at == self.filled {
            if self.position >= self.len {
                return Ok(None);
            }
            if self.position >= self.data_end {
                let data = self.seek_data();
                if data > self.position {
                    let len = data - self.position;
                    self.position = data;
                    return Ok(Some(Piece::Zeros(len)));
                }
            }
            self.fill().map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    SourceError::Bad("it became shorter while it was read".into())
                }
                _ => SourceError::Io(error.into()),
            })?;
        }
        let (zeros, len) = super::stream::run(&self.chunk[self.at..self.filled]);
        let from = self.at;
        self.at += len;
        self.position += ints::to_u64(len);
        Ok(Some(if zeros {
            Piece::Zeros(ints::to_u64(len))
        } else {
            Piece::Data(&self.chunk[from..self.at])
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_data_come_in_order_and_whole() {
        let file = tempfile::tempfile().unwrap();
        let mut expected = vec![0; (6 << 20) + 100];
        for (at, len) in [(4096, 10_000), (2 << 20, 1 << 20), (5 << 20, 300)] {
            expected[at..at + len].fill(7);
            file.write_all_at(&expected[at..at + len], at as u64).unwrap();
        }
        for len in [expected.len(), (2 << 20) + 5, 4096, 0] {
            file.set_len(expected.len() as u64).unwrap();
            let mut source = Sparse::new(file.try_clone().unwrap(), len as u64);
            let mut out = Vec::new();
            while let Some(piece) = source.next().unwrap() {
                match piece {
                    Piece::Data(bytes) => out.extend(bytes),
                    Piece::Zeros(len) | Piece::Skip(len) => out.resize(out.len() + ints::to_usize(len), 0),
                }
            }
            assert!(out == expected[..len], "{len}");
        }
        let mut source = Sparse::new(file, 7 << 20);
        let mut last = Ok(None);
        for _ in 0..100 {
            last = source.next().map(|piece| piece.map(|_| ()));
            if !matches!(last, Ok(Some(()))) {
                break;
            }
        }
        assert!(matches!(last, Ok(None) | Err(SourceError::Bad(_))), "a file that is shorter than it was");
    }
}
