//! An image out of any reader: runs of zeros are found on the way.

use crate::image::source::{Piece, Source, SourceError};
use crate::ints;
use std::io::{self, Read};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// Zeros are looked for in blocks of this length, from the start of the image.
const BLOCK: usize = 4096;

/// An image that a reader gives.
pub struct Stream<R> {
    reader: R,
    len: Option<u64>,
    chunk: Vec<u8>,
    filled: usize,
    at: usize,
    position: u64,
    ended: bool,
}

impl<R: Read> Stream<R> {
    /// Reads an image of `len` bytes, where that is known: an image that ends before is truncated.
    pub fn new(reader: R, len: Option<u64>) -> Self {
        Self { reader, len, chunk: vec![0; CHUNK], filled: 0, at: 0, position: 0, ended: false }
    }

    fn fill(&mut self) -> Result<(), SourceError> {
        (self.filled, self.at) = (0, 0);
        while self.filled < CHUNK && !self.ended {
            match self.reader.read(&mut self.chunk[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(n) => self.filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        self.position += ints::to_u64(self.filled);
        match self.len {
            Some(len) if self.ended && self.position < len => {
                Err(SourceError::Bad(format!("it ends after {} bytes, expected {len}", self.position).into()))
            }
            _ => Ok(()),
        }
    }
}

/// What cannot be decoded is bad; what cannot be read may be read later.
fn failed(error: io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::Other => SourceError::Bad(error.into()),
        _ => SourceError::Io(error.into()),
    }
}

impl<R: Read> Source for Stream<R> {
    fn len(&self) -> Option<u64> {
        self.len
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        if self.at == self.filled {
            self.fill()?;
            if self.filled == 0 {
                return Ok(None);
            }
        }
        let (zeros, len) = run(&self.chunk[self.at..self.filled]);
        let from = self.at;
        self.at += len;
        Ok(Some(if zeros {
            Piece::Zeros(ints::to_u64(len))
        } else {
            Piece::Data(&self.chunk[from..self.at])
        }))
    }
}

/// The first run of bytes that are alike: whether they are zeros, and how many there are.
pub(crate) fn run(bytes: &[u8]) -> (bool, usize) {
    let mut blocks = bytes.chunks(BLOCK);
    let zeros = blocks.next().is_some_and(is_zero);
    let more = blocks.take_while(|block| is_zero(block) == zeros).count();
    (zeros, ((more + 1) * BLOCK).min(bytes.len()))
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], len: Option<u64>) -> Result<(Vec<u8>, u64), SourceError> {
        let mut source = Stream::new(bytes, len);
        let (mut out, mut zeros) = (Vec::new(), 0);
        while let Some(piece) = source.next()? {
            match piece {
                Piece::Data(bytes) => out.extend(bytes),
                Piece::Zeros(len) | Piece::Skip(len) => {
                    zeros += len;
                    out.resize(out.len() + ints::to_usize(len), 0);
                }
            }
        }
        Ok((out, zeros))
    }

    #[test]
    fn an_image_comes_through_with_its_zeros_apart() {
        let mut image = vec![1; (3 << 20) + 777];
        image[5000..1_500_000].fill(0);
        let (out, zeros) = read(&image, Some(image.len() as u64)).unwrap();
        assert!(out == image);
        assert_eq!(zeros, 1_500_000 / 4096 * 4096 - 8192);
        assert!(matches!(read(&image, Some(image.len() as u64 + 1)), Err(SourceError::Bad(_))));
        assert_eq!(read(&[], None).unwrap(), (vec![], 0));
        assert_eq!(read(&[0; 10], None).unwrap(), (vec![0; 10], 10));
    }
}
