//! What every decoder says of bytes that are none of its own.

use std::io;

/// An error for bytes that cannot be decoded.
pub(super) fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
