//! Compares what can be read at any place with an image, range by range; no copy of either is made.

use crate::image::{Piece, Source, SourceError};
use crate::ints;
use crate::stream::ReadAt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that are compared at a time, and how exactly differences are told.
const CHUNK: usize = 1 << 20;
const BLOCK: usize = 4096;

/// A comparison came to no end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be made.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What is compared cannot be read.
    #[error("cannot read at byte {offset}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// What sees a comparison.
pub trait Watch {
    /// A block differs, or is not there.
    fn differs(&mut self, offset: u64, len: u64);
    /// All up to here was compared.
    fn at(&mut self, offset: u64);
}

/// Compares; gives the length of the image and how many bytes of it matter.
pub fn ranges(
    disk: &dyn ReadAt,
    source: &mut dyn Source,
    stop: &AtomicBool,
    watch: &mut dyn Watch,
) -> Result<(u64, u64), Error> {
    let (mut at, mut compared) = (0, 0);
    let mut held = vec![0; CHUNK];
    while let Some(piece) = source.next()? {
        let (bytes, len) = match piece {
            Piece::Data(bytes) => (Some(bytes), ints::to_u64(bytes.len())),
            Piece::Zeros(len) => (None, len),
            Piece::Skip(len) => {
                at += len;
                continue;
            }
        };
        let mut done = 0;
        while done < len {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let now = ints::to_usize((len - done).min(ints::to_u64(CHUNK)));
            let from = ints::to_usize(done);
            let expected = bytes.map(|bytes| &bytes[from..from + now]);
            range(disk, at + done, expected, &mut held[..now], watch)?;
            done += ints::to_u64(now);
            watch.at(at + done);
        }
        at += len;
        compared += len;
    }
    Ok((at, compared))
}

fn range(
    disk: &dyn ReadAt,
    offset: u64,
    expected: Option<&[u8]>,
    held: &mut [u8],
    watch: &mut dyn Watch,
) -> Result<(), Error> {
    let there = ints::to_usize(disk.size().saturating_sub(offset).min(ints::to_u64(held.len())));
    disk.read_exact_at(&mut held[..there], offset).map_err(|source| Error::Read { offset, source })?;
    let blocks = (0..held.len()).step_by(BLOCK);
    for from in blocks {
        let to = (from + BLOCK).min(held.len());
        let is_same = to <= there
            && match expected {
                Some(bytes) => bytes[from..to] == held[from..to],
                None => held[from..to].iter().all(|byte| *byte == 0),
            };
        if !is_same {
            watch.differs(offset + ints::to_u64(from), ints::to_u64(to - from));
        }
    }
    Ok(())
}
