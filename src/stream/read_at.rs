//! Reading at a position.

use std::io;

/// Something that can be read at any offset, such as an image file, a card or a slice.
pub trait ReadAt {
    /// Length in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset`; an error of kind `UnexpectedEof` when it ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        crate::ints::to_u64(self.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = from.checked_add(buf.len()).and_then(|to| self.get(from..to));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A part of something readable: a partition of a card.
#[derive(Clone, Copy, Debug)]
pub struct Window<T> {
    pub(super) inner: T,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl<T: ReadAt> Window<T> {
    /// The `len` bytes from `offset`, cut at the end of `inner`.
    pub fn new(inner: T, offset: u64, len: u64) -> Self {
        let len = len.min(inner.size().saturating_sub(offset));
        Self { inner, offset, len }
    }
}

impl<T: ReadAt> ReadAt for Window<T> {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(crate::ints::to_u64(buf.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.inner.read_exact_at(buf, self.offset + offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }
}
