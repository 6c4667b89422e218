//! Files on their way to their places: pieces, and bytes that wait.

use crate::compose::plan::piece::Piece;
use crate::compose::write::out::MoveError;
use crate::compose::write::out::Out;
use crate::compose::write::scattered::Scattered;
use crate::ints;
use std::sync::{Mutex, PoisonError};

/// Bytes of a block of the root.
const BLOCK: u64 = 4096;
const ZEROS: [u8; 4096] = [0; 4096];

/// How many bytes a file of that length leaves of its last block.
pub const fn padding(len: u64) -> u64 {
    len.next_multiple_of(BLOCK) - len
}

/// Bytes that are kept for later, in chunks that are used again and again: fresh memory costs more than a copy.
#[derive(Default)]
pub struct Kept(Vec<Vec<u8>>);

/// Chunks that nobody uses.
pub type Spare = Mutex<Vec<Vec<u8>>>;

/// Bytes of a chunk.
const CHUNK: usize = 256 << 10;

impl Kept {
    /// Adds bytes.
    pub fn push(&mut self, mut bytes: &[u8], spare: &Spare) {
        while !bytes.is_empty() {
            let full = self.0.last().is_none_or(|last| last.len() == CHUNK);
            if full {
                let used = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
                self.0.push(used.unwrap_or_else(|| Vec::with_capacity(CHUNK)));
            }
            // cannot fail: there is one now
            let last = self.0.last_mut().expect("a chunk");
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - last.len()));
            last.extend_from_slice(now);
            bytes = later;
        }
    }

    /// How much memory they hold, in bytes.
    pub fn held(&self) -> u64 {
        ints::to_u64(self.0.len() * CHUNK)
    }

    /// The bytes, chunk by chunk.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Fills the last block up.
    pub fn pad(&mut self, padding: u64, spare: &Spare) {
        self.push(&ZEROS[..ints::to_usize(padding)], spare);
    }

    /// Gives the chunks back.
    pub fn release(mut self, spare: &Spare) {
        self.0.iter_mut().for_each(Vec::clear);
        spare.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.0);
    }
}

/// The blocks that pieces lie in, as few runs.
pub fn blocks(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut runs: Vec<Piece> = Vec::new();
    for piece in pieces {
        let len = piece.len.next_multiple_of(BLOCK);
        match runs.last_mut() {
            Some(last) if last.offset + last.len == piece.offset => last.len += len,
            _ => runs.push(Piece { len, ..piece }),
        }
    }
    runs
}

/// A file on its way to its pieces.
#[derive(Default)]
pub struct Placing {
    pieces: std::vec::IntoIter<Piece>,
    /// Where the next byte goes, and how many go there.
    now: (u64, u64),
    /// Bytes of its last block behind the piece.
    padding: u64,
}

impl Placing {
    /// Begins with the first.
    pub fn new(pieces: Vec<Piece>) -> Self {
        Self { pieces: pieces.into_iter(), now: (0, 0), padding: 0 }
    }

    /// Puts the bytes that come next to their place.
    pub fn put(&mut self, mut bytes: &[u8], out: &mut Scattered<'_>) -> Result<(), MoveError> {
        while !bytes.is_empty() {
            if self.now.1 == 0 {
                // cannot fail: the reader gives as many bytes as it announced, for which there are places
                let piece = self.pieces.next().expect("a place for each byte");
                self.now = (piece.offset, piece.len);
                self.padding = padding(piece.len);
            }
            let (now, later) =
                bytes.split_at(usize::try_from(self.now.1).map_or(bytes.len(), |left| left.min(bytes.len())));
            out.bytes(self.now.0, now)?;
            self.now = (self.now.0 + ints::to_u64(now.len()), self.now.1 - ints::to_u64(now.len()));
            bytes = later;
            if self.now.1 == 0 {
                // The rest of the block, so that the next file can go with it.
                out.zeros(self.now.0, self.padding)?;
            }
        }
        Ok(())
    }
}
