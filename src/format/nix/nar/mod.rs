//! The Nix archive: one file, directory or symlink, with names in order and nothing of the host in it.
//!
//! ```text
//! archive = str("nix-archive-1") node
//! node    = str("(") str("type") body str(")")
//! body    = str("regular") [str("executable") str("")] str("contents") str(BYTES)
//!         | str("symlink") str("target") str(BYTES)
//!         | str("directory") { str("entry") str("(") str("name") str(BYTES) str("node") node str(")") }
//! str(s)  = length u64 little-endian | s | zeros to a multiple of 8
//! ```
//! Source: Nix `src/libutil/archive.cc` of 2.34.7 and later, whose limits hold here: 63 levels, names of 255 bytes,
//! targets of 4095, entries strictly ascending, padding of zeros, nothing behind the end.

mod delimited;
pub(crate) mod error;
pub(crate) mod limits;
mod read;
mod tree;
mod write;

pub use delimited::Delimited;
pub use read::{Event, Reader};
pub use tree::{Room, tree, tree_with};
pub use write::{Framing, len, write};

pub use error::Error;
pub use limits::{MAX_DEPTH, MAX_NAME, MAX_TARGET, padding_of};

#[cfg(test)]
mod tests;
