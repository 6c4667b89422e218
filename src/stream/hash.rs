//! Hashing and counting on the way, and comparing at the end.

use crate::base_n::to_base16;
use crate::ints;
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, Read};

/// Hashes and counts what is read through it. No byte is copied for that.
pub struct Hashing<R> {
    inner: R,
    sha256: Sha256,
    /// Bytes at the front of the inner buffer that are hashed but not consumed: a buffer is hashed whole, once.
    ahead: usize,
    consumed: u64,
    limit: u64,
}

impl<R: BufRead> Hashing<R> {
    /// Reads `inner`, at most `limit` bytes and one more, so that a longer stream is seen to be longer.
    pub fn new(inner: R, limit: u64) -> Self {
        Self { inner, sha256: Sha256::new(), ahead: 0, consumed: 0, limit }
    }

    /// How many bytes were consumed.
    pub const fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The hash of all that was consumed; right only at the end of the stream.
    pub fn digest(self) -> [u8; 32] {
        self.sha256.finalize().into()
    }
}

impl<R: BufRead> BufRead for Hashing<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let buf = self.inner.fill_buf()?;
        if self.ahead < buf.len() {
            self.sha256.update(&buf[self.ahead..]);
            self.ahead = buf.len();
        }
        let over = self.consumed + ints::to_u64(buf.len()) > self.limit.saturating_add(1);
        let end =
            if over { ints::to_usize((self.limit + 1).saturating_sub(self.consumed)) } else { buf.len() };
        Ok(&buf[..end])
    }

    fn consume(&mut self, amount: usize) {
        self.ahead -= amount;
        self.consumed += ints::to_u64(amount);
        self.inner.consume(amount);
    }
}

impl<R: BufRead> Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let buf = self.fill_buf()?;
        let len = buf.len().min(out.len());
        out[..len].copy_from_slice(&buf[..len]);
        self.consume(len);
        Ok(len)
    }
}

/// Hashes what is read, and at its end compares.
pub struct Summed<R> {
    inner: R,
    expected: Option<(Sha256, String, String)>,
}

impl<R: Read> Summed<R> {
    /// Expects a hash, with where that is from; or none.
    pub fn new(inner: R, expected: Option<(String, String)>) -> Self {
        Self { inner, expected: expected.map(|(sum, from)| (Sha256::new(), sum, from)) }
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        if read > 0 || buf.is_empty() {
            if let Some((hash, ..)) = &mut self.expected {
                hash.update(&buf[..read]);
            }
            return Ok(read);
        }
        let Some((hash, expected, from)) = self.expected.take() else { return Ok(0) };
        let found = to_base16(&hash.finalize());
        if found == expected {
            return Ok(0);
        }
        let text = format!("its SHA-256 is {found}, {from} says {expected}");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_wrong_sum_is_an_error_at_the_end() {
        let mut out = Vec::new();
        let right = Some((SUM.to_owned(), "x".to_owned()));
        Summed::new(&b""[..], right.clone()).read_to_end(&mut out).unwrap();
        let error = Summed::new(&b"1"[..], right).read_to_end(&mut out).unwrap_err();
        assert!(error.to_string().contains("x says e3b0"), "{error}");
    }
}
