//! A packed qcow2, into a file: clusters are packed on all threads, placed in their order by one, and the header is
//! written last.

use super::disk::Disk;
use super::gather::{Batch, Gather};
use super::ordered::Ordered;
use super::packer::{Fate, Packed, Packer};
use crate::format::disk::container::qcow2 as format;
use crate::format::disk::container::qcow2::{CLUSTER, Compression};
use crate::image::sink::{Sink, SinkError};
use crate::ints;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Clusters in a batch: 1 MiB.
const BATCH: usize = 16;
/// Packed bytes that are written at a time.
const WRITE: usize = 1 << 20;

/// The sink.
pub(super) struct Qcow2 {
    file: File,
    target: String,
    gather: Gather,
    threads: Ordered<Batch, io::Result<Packed>>,
    tables: format::Packed,
    /// What is placed and not yet written, and where it begins.
    waiting: Vec<u8>,
    at: u64,
}

impl Qcow2 {
    /// Begins in an empty file.
    pub fn begin(
        file: File,
        target: &str,
        disk: &Disk,
        (compression, level): (Compression, u32),
        threads: u32,
    ) -> io::Result<Self> {
        let block = ints::to_usize(CLUSTER);
        let threads = Ordered::start(threads, || {
            let mut packer = Packer::cluster(compression, level)?;
            // One that is not shorter is stored as it is.
            Ok(move |batch: Batch| packer.batch(&batch, block, block - 1))
        })?;
        let tables = format::Packed::new(disk.size, compression);
        let gather = Gather::new(CLUSTER, BATCH);
        Ok(Self {
            file,
            target: target.to_owned(),
            gather,
            threads,
            tables,
            waiting: Vec::new(),
            at: CLUSTER,
        })
    }

    fn place(&mut self, packed: &Packed) -> io::Result<()> {
        let mut rest = &packed.bytes[..];
        for (cluster, fate) in &packed.blocks {
            let (at, len) = match fate {
                Fate::Zeros => continue,
                Fate::Plain => (self.tables.plain(*cluster), ints::to_usize(CLUSTER)),
                Fate::Packed(len) => (self.tables.packed(*cluster, ints::to_u64(*len)), *len),
            };
            let (bytes, later) = rest.split_at(len);
            self.write(at, bytes)?;
            rest = later;
        }
        Ok(())
    }

    /// Writes bytes that follow what was written, perhaps after a gap.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let end = self.at + ints::to_u64(self.waiting.len());
        if self.waiting.len() >= WRITE || at != end {
            self.flush()?;
            self.at = at;
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.waiting, self.at)?;
        self.at += ints::to_u64(self.waiting.len());
        self.waiting.clear();
        Ok(())
    }

    fn pack(&mut self, batch: Option<Batch>) -> io::Result<()> {
        let Some(batch) = batch else { return Ok(()) };
        match self.threads.give(batch)? {
            Some(packed) => self.place(&packed?),
            None => Ok(()),
        }
    }

    fn complete(mut self) -> io::Result<()> {
        let last = std::mem::replace(&mut self.gather, Gather::new(CLUSTER, BATCH)).finish();
        self.pack(Some(last))?;
        while let Some(packed) = self.threads.take()? {
            self.place(&packed?)?;
        }
        self.flush()?;
        let too_long = || io::Error::other("the disk is longer than a qcow2 can be");
        let (writes, len) = self.tables.finish().ok_or_else(too_long)?;
        for write in writes {
            self.file.write_all_at(&write.bytes, write.at)?;
        }
        self.file.set_len(len)
    }
}

impl Sink for Qcow2 {
    fn data(&mut self, mut bytes: &[u8]) -> Result<(), SinkError> {
        while !bytes.is_empty() {
            let (rest, full) = self.gather.data(bytes);
            self.pack(full).map_err(|source| SinkError::Io { target: self.target.clone(), source })?;
            bytes = rest;
        }
        Ok(())
    }

    fn zeros(&mut self, mut len: u64) -> Result<(), SinkError> {
        while len > 0 {
            let (rest, full) = self.gather.zeros(len);
            self.pack(full).map_err(|source| SinkError::Io { target: self.target.clone(), source })?;
            len = rest;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        let target = self.target.clone();
        self.complete().map_err(|source| SinkError::Io { target, source })
    }
}
