//! A streamOptimized VMDK: grains are packed on all threads, and written in their order.

use super::disk::Disk;
use super::gather::{Batch, Gather};
use super::ordered::Ordered;
use super::packer::{Fate, Packed, Packer};
use crate::format::disk::container::vmdk as format;
use crate::format::disk::container::vmdk::GRAIN;
use crate::image::sink::{Sink, SinkError};
use crate::ints;
use std::io;

/// Grains in a batch: 1 MiB.
const BATCH: usize = 16;

/// The sink.
pub(super) struct Vmdk<'a> {
    inner: Box<dyn Sink + 'a>,
    target: String,
    gather: Gather,
    threads: Ordered<Batch, io::Result<Packed>>,
    stream: format::Vmdk,
    out: Vec<u8>,
}

impl<'a> Vmdk<'a> {
    /// Writes what comes first.
    pub fn begin(
        mut inner: Box<dyn Sink + 'a>,
        target: &str,
        disk: &Disk,
        level: u32,
        threads: u32,
    ) -> Result<Self, SinkError> {
        let failed = |source| SinkError::Io { target: target.to_owned(), source };
        let [a, b, c, d, ..] = disk.uuid("content of a vmdk");
        // The two greatest numbers say that there is no content.
        let content = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
        let stream =
            format::Vmdk::new(disk.size, format::Ids { content }).ok_or_else(|| failed(too_long()))?;
        let block = ints::to_usize(GRAIN);
        let threads = Ordered::start(threads, || {
            let mut packer = Packer::grain(level);
            // Grains are packed whether they become shorter or not: deflate stores with a few bytes more.
            Ok(move |batch: Batch| packer.batch(&batch, block, block + block / 8))
        })
        .map_err(failed)?;
        inner.data(&stream.head())?;
        let gather = Gather::new(GRAIN, BATCH);
        Ok(Self { inner, target: target.to_owned(), gather, threads, stream, out: Vec::new() })
    }

    fn failed(&self, source: io::Error) -> SinkError {
        SinkError::Io { target: self.target.clone(), source }
    }

    fn place(&mut self, packed: &Packed) -> Result<(), SinkError> {
        let mut rest = &packed.bytes[..];
        self.out.clear();
        for (grain, fate) in &packed.blocks {
            let Fate::Packed(len) = fate else { continue };
            let (bytes, later) = rest.split_at(*len);
            let placed = self.stream.grain(*grain, bytes, &mut self.out);
            placed.map_err(|format::TooLong| self.failed(too_long()))?;
            rest = later;
        }
        self.inner.data(&self.out)
    }

    fn pack(&mut self, batch: Option<Batch>) -> Result<(), SinkError> {
        let Some(batch) = batch else { return Ok(()) };
        let given = self.threads.give(batch).and_then(Option::transpose);
        match given.map_err(|source| self.failed(source))? {
            Some(packed) => self.place(&packed),
            None => Ok(()),
        }
    }
}

fn too_long() -> io::Error {
    io::Error::other("the disk is longer than a vmdk can be")
}

impl Sink for Vmdk<'_> {
    fn data(&mut self, mut bytes: &[u8]) -> Result<(), SinkError> {
        while !bytes.is_empty() {
            let (rest, full) = self.gather.data(bytes);
            self.pack(full)?;
            bytes = rest;
        }
        Ok(())
    }

    fn zeros(&mut self, mut len: u64) -> Result<(), SinkError> {
        while len > 0 {
            let (rest, full) = self.gather.zeros(len);
            self.pack(full)?;
            len = rest;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), SinkError> {
        let last = std::mem::replace(&mut self.gather, Gather::new(GRAIN, BATCH)).finish();
        self.pack(Some(last))?;
        loop {
            let taken = self.threads.take().and_then(Option::transpose);
            match taken.map_err(|source| self.failed(source))? {
                Some(packed) => self.place(&packed)?,
                None => break,
            }
        }
        let mut end = Vec::new();
        let Self { mut inner, target, stream, .. } = *self;
        let finished = stream.finish(&mut end);
        finished.map_err(|format::TooLong| SinkError::Io { target, source: too_long() })?;
        inner.data(&end)?;
        inner.finish()
    }
}
