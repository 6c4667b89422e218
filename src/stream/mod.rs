//! Reader adapters: positioned reading, sniffed decompression, hashing, limits.

pub mod archive;
mod brotli;
pub mod decompress;
pub(crate) mod deflate;
pub(crate) mod gzip;
pub mod hash;
mod lz4;
pub(crate) mod read_at;
pub(crate) mod tar;
pub(crate) mod zip;

use std::io;

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }
}

pub use read_at::{ReadAt, Window};
