//! The block map of an image, recorded while it is written.

use super::beside::Shared;
use crate::image::sink::{Sink, SinkError};
use crate::ints;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Bytes of a block.
pub const BLOCK: u64 = 4096;
/// Blocks in one range at the most: a bad range is found again without reading all.
const MAX_RANGE: u64 = 1024;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The ranges of an image that a writer must write.
#[derive(Default)]
pub struct Mapper {
    len: u64,
    /// First block, number of blocks, hash.
    ranges: Vec<(u64, u64, [u8; 32])>,
    /// The range that is open: first block and hash of what came so far.
    open: Option<(u64, Sha256)>,
    /// Bytes of the block that is not complete, and whether any of them is mapped.
    block: Vec<u8>,
    mapped: bool,
}

impl Mapper {
    fn data(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = ints::to_usize(BLOCK) - self.block.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.block.extend_from_slice(now);
            self.mapped = true;
            bytes = later;
            self.len += ints::to_u64(now.len());
            self.complete();
        }
    }

    fn zeros(&mut self, mut len: u64) {
        while len > 0 {
            let now = len.min(ints::to_u64(ZEROS.len()));
            self.data(&ZEROS[..ints::to_usize(now)]);
            len -= now;
        }
    }

    fn skip(&mut self, mut len: u64) {
        while len > 0 {
            if self.block.is_empty() && len >= BLOCK {
                self.close();
                let whole = len / BLOCK * BLOCK;
                self.len += whole;
                len -= whole;
            } else {
                let now = len.min(BLOCK - ints::to_u64(self.block.len()));
                self.block.resize(self.block.len() + ints::to_usize(now), 0);
                self.len += now;
                len -= now;
                self.complete();
            }
        }
    }

    fn complete(&mut self) {
        if ints::to_u64(self.block.len()) == BLOCK {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let number = (self.len - 1) / BLOCK;
        if self.mapped {
            let full = self.open.as_ref().is_some_and(|(first, _)| number - first == MAX_RANGE);
            if full {
                self.close_at(number);
            }
            self.open.get_or_insert_with(|| (number, Sha256::new())).1.update(&self.block);
        } else {
            self.close_at(number);
        }
        self.block.clear();
        self.mapped = false;
    }

    fn close(&mut self) {
        self.close_at(self.len / BLOCK);
    }

    fn close_at(&mut self, end: u64) {
        if let Some((first, sha256)) = self.open.take() {
            self.ranges.push((first, end - first, sha256.finalize().into()));
        }
    }

    /// All that came, as runs that must be written.
    fn runs(&mut self) -> Runs {
        if !self.block.is_empty() {
            self.end_block();
        }
        self.close_at(self.len.div_ceil(BLOCK));
        let runs = self.ranges.iter().map(|(first, blocks, sha256)| Run {
            from: first * BLOCK,
            to: ((first + blocks) * BLOCK).min(self.len),
            sha256: *sha256,
        });
        Runs { image_len: self.len, runs: runs.collect() }
    }
}

/// What of an image must be written, as whole blocks of [`BLOCK`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// The length of the image in bytes.
    pub image_len: u64,
    /// Ascending, without overlaps.
    pub runs: Vec<Run>,
}

/// A run of bytes that must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first byte.
    pub from: u64,
    /// The byte behind the last; the end of the image where its last block is not whole.
    pub to: u64,
    /// The SHA-256 of these bytes.
    pub sha256: [u8; 32],
}

/// Records a block map of an image on its way into a sink.
pub struct Mapped<'a> {
    inner: Box<dyn Sink + 'a>,
    map: Shared<Mapper>,
}

impl<'a> Mapped<'a> {
    /// Wraps a sink; the map can be asked for at the end.
    pub fn new(inner: Box<dyn Sink + 'a>) -> (Self, Shared<Mapper>) {
        let map = Shared::default();
        (Self { inner, map: Arc::clone(&map) }, map)
    }

    fn record(&self, what: impl FnOnce(&mut Mapper)) {
        if let Ok(mut map) = self.map.lock() {
            what(&mut map);
        }
    }
}

/// The runs of a map whose sink is finished.
#[must_use]
pub fn runs(map: &Shared<Mapper>) -> Runs {
    map.lock().unwrap_or_else(std::sync::PoisonError::into_inner).runs()
}

impl Sink for Mapped<'_> {
    fn data(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.record(|map| map.data(bytes));
        self.inner.data(bytes)
    }

    fn zeros(&mut self, len: u64) -> Result<(), SinkError> {
        self.record(|map| map.zeros(len));
        self.inner.zeros(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SinkError> {
        self.record(|map| map.skip(len));
        self.inner.skip(len)
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        self.inner.finish()
    }
}
