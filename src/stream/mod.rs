//! Reader adapters: positioned reading, sniffed decompression, hashing, limits.

pub mod archive;
mod brotli;
mod damaged;
pub mod decompress;
pub(crate) mod deflate;
pub(crate) mod gzip;
pub mod hash;
mod lz4;
pub(crate) mod read_at;
pub(crate) mod tar;
mod xz;
pub(crate) mod zip;
pub(crate) mod zip_directory;

pub use read_at::{ReadAt, Window};
