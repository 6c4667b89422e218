//! What compresses a stream, whichever it is.

use std::io::{self, Write};

/// Compresses a stream.
pub trait Encoder {
    /// Takes bytes of the image, behind all that came before.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Writes what is left and flushes.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// No compression: bytes go through as they are.
pub struct Plain<'a>(pub Box<dyn Write + Send + 'a>);

impl Encoder for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}
