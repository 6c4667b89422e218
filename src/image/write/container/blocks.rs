//! Containers whose tables come first.

use crate::format::disk::container::{Head, Part};
use crate::image::sink::{Sink, SinkError};
use crate::ints;
use std::io;

/// Leaves out of a disk what is not stored, and writes the tables before it.
pub(super) struct Blocks<'a> {
    inner: Box<dyn Sink + 'a>,
    head: Box<dyn Head + 'a>,
    target: String,
    position: u64,
    /// The range of stored blocks that comes next, or that the position is in.
    range: usize,
}

/// What the next bytes are.
#[derive(Clone, Copy)]
enum Piece<'b> {
    Data(&'b [u8]),
    Zeros(u64),
}

impl<'a> Blocks<'a> {
    /// Writes the tables.
    pub fn begin(
        mut inner: Box<dyn Sink + 'a>,
        head: Box<dyn Head + 'a>,
        target: &str,
    ) -> Result<Self, SinkError> {
        for part in head.parts() {
            match part {
                Part::Bytes(bytes) => inner.data(&bytes)?,
                Part::Zeros(len) => inner.zeros(len)?,
            }
        }
        Ok(Self { inner, head, target: target.to_owned(), position: 0, range: 0 })
    }

    /// How far it is to the next border between what is stored and what is not, and on which side the position is.
    fn run(&mut self) -> (u64, bool) {
        let stored = self.head.stored();
        let bytes = |range: &std::ops::Range<u64>| (range.start * stored.block(), range.end * stored.block());
        while let Some((from, to)) = stored.ranges().get(self.range).map(bytes) {
            if self.position < from {
                return (from - self.position, false);
            }
            if self.position < to {
                return (to - self.position, true);
            }
            self.range += 1;
        }
        (u64::MAX, false)
    }

    fn feed(&mut self, mut piece: Piece<'_>) -> Result<(), SinkError> {
        loop {
            let len = match piece {
                Piece::Data(bytes) => ints::to_u64(bytes.len()),
                Piece::Zeros(len) => len,
            };
            if len == 0 {
                return Ok(());
            }
            let (run, stored) = self.run();
            let now = run.min(len);
            let (first, rest) = match piece {
                Piece::Data(bytes) => {
                    let (first, rest) = bytes.split_at(ints::to_usize(now));
                    (Piece::Data(first), Piece::Data(rest))
                }
                Piece::Zeros(len) => (Piece::Zeros(now), Piece::Zeros(len - now)),
            };
            match first {
                Piece::Data(bytes) if stored => self.inner.data(bytes)?,
                Piece::Zeros(len) if stored => self.inner.zeros(len)?,
                Piece::Data(bytes) if bytes.iter().any(|byte| *byte != 0) => return Err(self.unplanned()),
                Piece::Data(_) | Piece::Zeros(_) => {}
            }
            self.position += now;
            piece = rest;
        }
    }

    /// The tables are written: what they do not name cannot be stored any more.
    fn unplanned(&self) -> SinkError {
        let what = format!("there are data at byte {}, where the plan has none", self.position);
        SinkError::Io { target: self.target.clone(), source: io::Error::other(what) }
    }
}

impl Sink for Blocks<'_> {
    fn data(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.feed(Piece::Data(bytes))
    }

    fn zeros(&mut self, len: u64) -> Result<(), SinkError> {
        self.feed(Piece::Zeros(len))
    }

    fn finish(mut self: Box<Self>) -> Result<(), SinkError> {
        // The last block is stored whole, though the disk may end within it.
        if let (rest, true) = self.run() {
            self.inner.zeros(rest)?;
        }
        self.inner.finish()
    }
}
