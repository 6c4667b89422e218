//! How a stream of an image is packed: as it is, zst, xz, gz. The bytes depend on the image and the level, never on
//! the number of threads.

use crate::image::sink::{Sink, SinkError};
use crate::num;
use std::io::{self, Write};

/// How an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Raw,
    /// One Zstandard frame.
    Zst {
        /// 1 to 19.
        level: u32,
    },
    /// xz in blocks.
    Xz {
        /// 0 to 9.
        level: u32,
    },
    /// One gzip member.
    Gz {
        /// 0 to 9.
        level: u32,
    },
}

/// zstd's own default.
pub const DEFAULT_ZST_LEVEL: u32 = 3;
/// xz's own default.
pub const DEFAULT_XZ_LEVEL: u32 = 6;
/// gzip's own default.
pub const DEFAULT_GZ_LEVEL: u32 = 6;

/// Zeros to feed to what cannot be told of them.
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// What the writers of a packed image may keep waiting on each other, in bytes of a xz block.
const XZ_BLOCK: u64 = 8 << 20;

/// A sink that packs into `out`, which is called `target` in errors. `len` is the length of the image, `threads` how
/// many may compress.
pub fn sink<'a>(
    packing: Packing,
    out: Box<dyn Write + Send + 'a>,
    target: &str,
    len: u64,
    threads: u32,
) -> Result<Box<dyn Sink + 'a>, SinkError> {
    let failed = |source: io::Error| SinkError::Io { target: target.to_owned(), source };
    let encoder: Box<dyn Encoder + 'a> = match packing {
        Packing::Raw => Box::new(Plain(out)),
        Packing::Zst { level } => Box::new(super::zst::Zst::new(out, level, len, threads).map_err(failed)?),
        Packing::Xz { level } => Box::new(xz(out, level, threads).map_err(failed)?),
        Packing::Gz { level } => Box::new(
            flate2::GzBuilder::new()
                .mtime(0)
                .operating_system(255)
                .write(out, flate2::Compression::new(level)),
        ),
    };
    Ok(Box::new(Packed { encoder, target: target.to_owned() }))
}

fn xz(
    out: Box<dyn Write + Send + '_>,
    level: u32,
    threads: u32,
) -> io::Result<liblzma::write::XzEncoder<Box<dyn Write + Send + '_>>> {
    let mut builder = liblzma::stream::MtStreamBuilder::new();
    builder
        .preset(level)
        .check(liblzma::stream::Check::Crc64)
        .block_size(XZ_BLOCK.max(dictionary(level)))
        .threads(threads.max(1));
    Ok(liblzma::write::XzEncoder::new_stream(out, builder.encoder()?))
}

/// Packs a few bytes as xz.
pub fn xz_small(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), DEFAULT_XZ_LEVEL);
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// The dictionary of a preset, in bytes.
const fn dictionary(level: u32) -> u64 {
    match level {
        0 => 256 << 10,
        1 => 1 << 20,
        2 => 2 << 20,
        3 | 4 => 4 << 20,
        5 | 6 => 8 << 20,
        7 => 16 << 20,
        8 => 32 << 20,
        _ => 64 << 20,
    }
}

/// Compresses a stream.
pub trait Encoder {
    /// Takes bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Writes what is left and flushes.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

struct Plain<'a>(Box<dyn Write + Send + 'a>);

impl Encoder for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Encoder for liblzma::write::XzEncoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        (*self).finish()?.flush()
    }
}

impl<W: Write> Encoder for flate2::write::GzEncoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        (*self).finish()?.flush()
    }
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
            let now = len.min(num::to_u64(ZEROS.len()));
            self.data(&ZEROS[..num::to_usize(now)])?;
            len -= now;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        let Self { encoder, target } = *self;
        encoder.finish().map_err(|source| Self::failed(&target, source))
    }
}
