//! The page that makes a card bootable, and zeros.

use crate::device::disk::ALIGN;
use crate::ints;

/// Zeros are written in pieces of this many bytes.
pub(super) const ZEROS: usize = 1 << 20;
pub(super) const PAGE: u64 = ints::to_u64(ALIGN);
