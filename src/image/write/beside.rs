//! What is written beside an image: its SHA-256, and a block map for bmaptool.

use crate::image::sink::{Sink, SinkError};
use crate::num;
use crate::num::to_base16;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};

/// Bytes of a block in a block map.
const BLOCK: u64 = 4096;
/// Blocks in one range at the most: a bad range is found again without reading all.
const MAX_RANGE: u64 = 1024;

/// A hash that is complete when its writer is gone.
pub type Shared<T> = Arc<Mutex<T>>;

/// Hashes what is written through it.
pub struct Hashed<W> {
    inner: W,
    sha256: Shared<Sha256>,
}

impl<W: Write> Hashed<W> {
    /// Wraps a writer; the hash can be asked for at the end.
    pub fn new(inner: W) -> (Self, Shared<Sha256>) {
        let sha256 = Shared::default();
        (Self { inner, sha256: Arc::clone(&sha256) }, sha256)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(bytes)?;
        if let Ok(mut sha256) = self.sha256.lock() {
            sha256.update(&bytes[..len]);
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The hash so far, in base 16.
#[must_use]
pub fn hex(sha256: &Shared<Sha256>) -> String {
    let hasher = sha256.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    to_base16(&hasher.clone().finalize())
}

/// The hash of a file that is complete, in base 16.
pub fn hash_file(file: &File) -> io::Result<String> {
    let mut reader = file;
    reader.seek(SeekFrom::Start(0))?;
    let (mut out, hash) = Hashed::new(io::sink());
    io::copy(&mut reader, &mut out)?;
    Ok(hex(&hash))
}

/// Hashes a raw image on its way into a sink, holes as zeros.
pub struct HashedSink<'a> {
    inner: Box<dyn Sink + 'a>,
    sha256: Shared<Sha256>,
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl<'a> HashedSink<'a> {
    /// Wraps a sink; the hash can be asked for at the end.
    pub fn new(inner: Box<dyn Sink + 'a>) -> (Self, Shared<Sha256>) {
        let sha256 = Shared::default();
        (Self { inner, sha256: Arc::clone(&sha256) }, sha256)
    }

    fn hash_zeros(&self, mut len: u64) {
        if let Ok(mut sha256) = self.sha256.lock() {
            while len > 0 {
                let now = len.min(num::to_u64(ZEROS.len()));
                sha256.update(&ZEROS[..num::to_usize(now)]);
                len -= now;
            }
        }
    }
}

impl Sink for HashedSink<'_> {
    fn data(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        if let Ok(mut sha256) = self.sha256.lock() {
            sha256.update(bytes);
        }
        self.inner.data(bytes)
    }

    fn zeros(&mut self, len: u64) -> Result<(), SinkError> {
        self.hash_zeros(len);
        self.inner.zeros(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SinkError> {
        self.hash_zeros(len);
        self.inner.skip(len)
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        self.inner.finish()
    }
}

/// The ranges of an image that a writer must write.
#[derive(Default)]
pub struct BlockMap {
    len: u64,
    /// First block, number of blocks, hash.
    ranges: Vec<(u64, u64, [u8; 32])>,
    /// The range that is open: first block and hash of what came so far.
    open: Option<(u64, Sha256)>,
    /// Bytes of the block that is not complete, and whether any of them is mapped.
    block: Vec<u8>,
    mapped: bool,
}

impl BlockMap {
    fn data(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = num::to_usize(BLOCK) - self.block.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.block.extend_from_slice(now);
            self.mapped = true;
            bytes = later;
            self.len += num::to_u64(now.len());
            self.complete();
        }
    }

    fn zeros(&mut self, mut len: u64) {
        while len > 0 {
            let now = len.min(num::to_u64(ZEROS.len()));
            self.data(&ZEROS[..num::to_usize(now)]);
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
                let now = len.min(BLOCK - num::to_u64(self.block.len()));
                self.block.resize(self.block.len() + num::to_usize(now), 0);
                self.len += now;
                len -= now;
                self.complete();
            }
        }
    }

    fn complete(&mut self) {
        if num::to_u64(self.block.len()) == BLOCK {
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

    /// The map as bmaptool reads it: XML, version 2.0.
    fn text(&mut self) -> String {
        if !self.block.is_empty() {
            self.end_block();
        }
        self.close_at(self.len.div_ceil(BLOCK));
        let blocks = self.len.div_ceil(BLOCK);
        let mapped: u64 = self.ranges.iter().map(|(_, len, _)| len).sum();
        let none = "0".repeat(64);
        let mut text = format!(
            "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n  <ImageSize> {} </ImageSize>\n  <BlockSize> {BLOCK} </BlockSize>\n  \
             <BlocksCount> {blocks} </BlocksCount>\n  <MappedBlocksCount> {mapped} </MappedBlocksCount>\n  \
             <ChecksumType> sha256 </ChecksumType>\n  <BmapFileChecksum> {none} </BmapFileChecksum>\n  <BlockMap>\n",
            self.len
        );
        for (first, len, hash) in &self.ranges {
            let last = first + len - 1;
            let range = if *len == 1 { first.to_string() } else { format!("{first}-{last}") };
            text.push_str(&format!("    <Range chksum=\"{}\"> {range} </Range>\n", to_base16(hash)));
        }
        text.push_str("  </BlockMap>\n</bmap>\n");
        // The checksum is that of the file with zeros in its place.
        let sum = to_base16(&Sha256::digest(text.as_bytes()));
        text.replacen(&none, &sum, 1)
    }
}

/// Records a block map of an image on its way into a sink.
pub struct Mapped<'a> {
    inner: Box<dyn Sink + 'a>,
    map: Shared<BlockMap>,
}

impl<'a> Mapped<'a> {
    /// Wraps a sink; the map can be asked for at the end.
    pub fn new(inner: Box<dyn Sink + 'a>) -> (Self, Shared<BlockMap>) {
        let map = Shared::default();
        (Self { inner, map: Arc::clone(&map) }, map)
    }

    fn record(&self, what: impl FnOnce(&mut BlockMap)) {
        if let Ok(mut map) = self.map.lock() {
            what(&mut map);
        }
    }
}

/// The text of a map whose sink is finished.
#[must_use]
pub fn bmap(map: &Shared<BlockMap>) -> String {
    map.lock().unwrap_or_else(std::sync::PoisonError::into_inner).text()
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
