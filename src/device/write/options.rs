//! How a card is to be written and verified.

use crate::device::progress::Meter;
use crate::format::disk::partition_table::SectorSize;
use std::sync::atomic::AtomicBool;

/// Whether a card is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// All that was written is read back.
    Verify,
    /// Only the table is.
    Skip,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Everything.
    All,
    /// What the card does not hold yet.
    Changed,
}

/// How a card is written.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Whether it is read back.
    pub check: Check,
    /// What is written.
    pub rewrite: Rewrite,
    /// The sector size of the card.
    pub sector: SectorSize,
    /// Whether the last partition, and its ext4 if it is ours, shall reach the end of the card.
    pub grow: bool,
    /// Set to stop.
    pub interrupted: &'a AtomicBool,
    /// Counts.
    pub meter: &'a Meter,
}
