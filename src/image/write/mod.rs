//! Images as they are made: raw, packed, and what is written beside them.

pub mod beside;
pub mod block_map;
pub mod complete_file;
mod encoder;
mod gz;
pub mod pack;
pub mod packing;
pub mod raw;
mod xz;
mod zst;
