//! Reader adapters: positioned reading, sniffed decompression, hashing, limits.

pub mod archive;
mod brotli;
pub mod decompress;
pub(crate) mod gzip;
pub mod hash;
mod lz4;
pub(crate) mod read_at;
pub(crate) mod tar;
pub(crate) mod zip;

pub use read_at::{ReadAt, Window};
