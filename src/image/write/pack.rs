//! An image that is packed on its way: zeros are fed to what cannot be told of them.

use super::container;
use super::container::Disk;
use super::encoder::{Encoder, Plain};
use super::packing::Packing;
use super::{gz, xz, zst};
use crate::image::sink::{Sink, SinkError};
use crate::ints;
use std::io::{self, Write};

/// Zeros to feed to what cannot be told of them.
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// A sink that packs a disk into `out`, which is called `target` in errors; so many threads may compress.
///
/// # Errors
/// Also for a container that cannot be written in order.
pub fn sink<'a>(
    packing: Packing,
    out: Box<dyn Write + Send + 'a>,
    target: &str,
    disk: &Disk,
    threads: u32,
) -> Result<Box<dyn Sink + 'a>, SinkError> {
    let len = disk.size;
    let failed = |source: io::Error| SinkError::Io { target: target.to_owned(), source };
    let encoder: Box<dyn Encoder + 'a> = match packing {
        Packing::Raw => Box::new(Plain(out)),
        Packing::Zst { level } => Box::new(zst::Zst::new(out, level, len, threads).map_err(failed)?),
        Packing::Xz { level } => Box::new(xz::encoder(out, level, threads).map_err(failed)?),
        Packing::Gz { level } => Box::new(gz::encoder(out, level)),
        Packing::Container(form) => {
            let inner = Packed { encoder: Box::new(Plain(out)), target: target.to_owned() };
            return container::into_sink(form, Box::new(inner), target, disk, threads);
        }
    };
    Ok(Box::new(Packed { encoder, target: target.to_owned() }))
}

struct Packed<'a> {
    encoder: Box<dyn Encoder + 'a>,
    target: String,
}

impl Packed<'_> {
    fn failed(target: &str, source: io::Error) -> SinkError {
        SinkError::Io { target: target.to_owned(), source }
    }
}

impl Sink for Packed<'_> {
    fn data(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.encoder.write(bytes).map_err(|source| Self::failed(&self.target, source))
    }

    fn zeros(&mut self, mut len: u64) -> Result<(), SinkError> {
        while len > 0 {
            let now = len.min(ints::to_u64(ZEROS.len()));
            self.data(&ZEROS[..ints::to_usize(now)])?;
            len -= now;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        let Self { encoder, target } = *self;
        encoder.finish().map_err(|source| Self::failed(&target, source))
    }
}
