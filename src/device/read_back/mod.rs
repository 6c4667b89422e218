//! What was written, read again past the cache and compared by digests.

pub mod block;
pub(crate) mod differences;
pub(crate) mod reader;
pub mod scan;
