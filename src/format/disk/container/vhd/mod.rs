//! VHD (Microsoft's "Virtual Hard Disk Image Format Specification", 1.0).

pub(in crate::format::disk::container) mod ondisk;
pub(in crate::format::disk::container) mod read;
mod write;

pub use write::{UNIT, footer};
