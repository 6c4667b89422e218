//! Images as they are made: raw, packed, and what is written beside them.

pub mod beside;
pub mod complete_file;
pub mod container;
pub mod pack;
pub mod raw;
pub(crate) mod zst;
