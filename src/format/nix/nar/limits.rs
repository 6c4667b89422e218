//! Limits of archives that are read, and padding.

use crate::ints;

/// Levels of directories that an archive may have.
pub const MAX_DEPTH: usize = 63;
/// Bytes that a name may have.
pub const MAX_NAME: u64 = 255;
/// Bytes that a symlink's target may have.
pub const MAX_TARGET: u64 = 4095;
/// Zeros behind a string.
#[must_use]
pub fn padding_of(len: u64) -> usize {
    ints::to_usize(len.wrapping_neg() % 8)
}
