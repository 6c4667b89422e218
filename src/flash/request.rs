//! Cards that are to hold an image, how, and what came of it.

use crate::device::Meter;
use crate::device::WriteError;
use crate::device::disk::Disk;
use crate::device::write::Check;
use crate::device::write::Report;
use crate::device::write::Rewrite;
use crate::format::disk::partition_table::SectorSize;
use crate::format::disk::partition_table::Span;
use crate::image::CopyError;
use std::sync::atomic::AtomicBool;

/// A card to write.
#[derive(Clone, Copy)]
pub struct Card<'a> {
    /// The open disk or file.
    pub disk: &'a dyn Disk,
    /// The length of its logical sectors; 512 for a file.
    pub sector: u32,
    /// Counts, for whoever shows them.
    pub meter: &'a Meter,
}

/// How cards are written.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Whether they are read back.
    pub check: Check,
    /// What is written.
    pub rewrite: Rewrite,
    /// Whether the last partition shall reach the end of each card.
    pub grow: bool,
    /// What sectors the image counts in; found out from its table when not known.
    pub image_sector: Option<SectorSize>,
    /// Set to stop.
    pub interrupted: &'a AtomicBool,
}

/// What became of a write.
#[derive(Debug)]
pub struct Outcome {
    /// The length of the image, or why it could not be read. When all cards fail, that ends it too.
    pub image: Result<u64, CopyError>,
    /// What became of each card, in the order given.
    pub cards: Vec<Result<Report, WriteError>>,
    /// Where the partitions of the image are.
    pub partitions: Vec<Span>,
}
