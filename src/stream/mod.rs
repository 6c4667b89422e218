//! Reader adapters: positioned reading, sniffed decompression, hashing, limits.

mod brotli;
pub mod decompress;
pub mod hash;
pub(crate) mod read_at;
mod zip;

pub use read_at::{ReadAt, Window};
