//! The SHA-256 of an image, taken while it is written.

use crate::base_n::to_base16;
use crate::image::sink::{Sink, SinkError};
use crate::ints;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};

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
                let now = len.min(ints::to_u64(ZEROS.len()));
                sha256.update(&ZEROS[..ints::to_usize(now)]);
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
