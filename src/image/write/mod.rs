//! Images as they are made: raw, packed, and what is written beside them.

pub mod beside;
pub mod block_map;
pub mod complete_file;
pub mod container;
mod encoder;
mod gz;
pub mod pack;
pub mod packing;
pub mod raw;
pub mod xz;
mod zst;
