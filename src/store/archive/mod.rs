//! Stores that are files: binary caches in a directory, exports.

pub(crate) mod cache_dir;
pub(crate) mod export;
