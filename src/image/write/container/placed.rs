//! Containers whose blocks have their places before any of them is written: several threads may write them at once.

use crate::format::disk::container::{Head, Part};
use crate::image::write::complete_file::Places;
use crate::ints;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where the blocks of a disk are in its container.
pub(super) struct Placed {
    head: Box<dyn Head>,
    /// Where the first block is, in bytes.
    first: u64,
    /// Of each range of stored blocks: where it is in the container, in bytes.
    starts: Vec<u64>,
    /// The length of the container in bytes.
    len: u64,
}

impl Placed {
    /// Finds the places.
    pub fn new(head: Box<dyn Head>) -> Self {
        let len_of = |part: Part| match part {
            Part::Bytes(bytes) => ints::to_u64(bytes.len()),
            Part::Zeros(len) => len,
        };
        let first = head.parts().map(len_of).sum();
        let (mut len, mut starts) = (first, Vec::new());
        for range in head.stored().ranges() {
            starts.push(len);
            len += (range.end - range.start) * head.stored().block();
        }
        Self { head, first, starts, len }
    }
}

impl Places for Placed {
    fn begin(&self, file: &File) -> io::Result<()> {
        file.set_len(self.len)?;
        let mut at = 0;
        for part in self.head.parts() {
            match part {
                Part::Bytes(bytes) => {
                    file.write_all_at(&bytes, at)?;
                    at += ints::to_u64(bytes.len());
                }
                Part::Zeros(len) => at += len,
            }
        }
        debug_assert_eq!(at, self.first);
        Ok(())
    }

    fn place(&self, offset: u64) -> (Option<u64>, u64) {
        let stored = self.head.stored();
        let (block, ranges) = (stored.block(), stored.ranges());
        let at = ranges.partition_point(|range| range.end * block <= offset);
        match ranges.get(at).map(|range| (range.start * block, range.end * block)) {
            Some((from, to)) if from <= offset => (Some(self.starts[at] + (offset - from)), to - offset),
            Some((from, _)) => (None, from - offset),
            None => (None, u64::MAX),
        }
    }
}
