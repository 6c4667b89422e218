//! gzip: one member, without a name, a time or a system, so that the same image is packed into the same bytes.

use super::encoder::Encoder;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use std::io::{self, Write};

/// What RFC 1952 calls an unknown system.
const NO_SYSTEM: u8 = 255;

/// Compresses at a level, 0 to 9.
pub fn encoder<W: Write>(out: W, level: u32) -> GzEncoder<W> {
    GzBuilder::new().mtime(0).operating_system(NO_SYSTEM).write(out, Compression::new(level))
}

impl<W: Write> Encoder for GzEncoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        (*self).finish()?.flush()
    }
}
