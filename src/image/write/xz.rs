//! xz on several cores: blocks are compressed by themselves.

use super::encoder::Encoder;
use std::io::{self, Write};

/// What the writers of a packed image may keep waiting on each other, in bytes of a xz block.
const XZ_BLOCK: u64 = 8 << 20;

/// Compresses with a preset, 0 to 9.
pub fn encoder(
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

/// Packs a few bytes with the usual preset.
pub fn small(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
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

impl<W: Write> Encoder for liblzma::write::XzEncoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        (*self).finish()?.flush()
    }
}
