//! What all phases of a write share, and how parts of an image reach the disk.

use super::fault::{Error, Fault, Left};
use super::marker;
use super::options::{Options, Rewrite};
use super::page::{PAGE, ZEROS};
use super::report::Growth;
use crate::device::buffer::Buffer;
use crate::device::disk::{ALIGN, Disk, Medium, is_set, read_exact, write_all};
use crate::device::progress::Phase;
use crate::device::read_back::block::{Block, HEAD, Part, digests};
use crate::device::read_back::differences::Differences;
use crate::device::read_back::scan::{Expect, Stop, Written, is_gone, is_zero, scan};
use crate::ints;
use std::io;
use std::sync::Arc;

/// How finely `Rewrite::Changed` tells what has changed.
const GRAIN: usize = 64 << 10;

/// A write in progress: what all phases share.
pub(super) struct Session<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) options: Options<'a>,
    pub(super) generation: u8,
    /// The first MiB of the image.
    pub(super) head: Buffer,
    /// The last MiB of the card, from `tail_at`.
    pub(super) tail: Buffer,
    pub(super) tail_at: u64,
    pub(super) zeros: Buffer,
    pub(super) scratch: Option<Buffer>,
    pub(super) ranges: Vec<Written>,
    pub(super) kept: u64,
    pub(super) left: Left,
    pub(super) growth: Option<Growth>,
    /// Why no partition grew although one should.
    pub(super) ungrown: Option<&'static str>,
    /// Where pages were probed.
    pub(super) probes: Vec<u64>,
}

impl Session<'_> {
    /// Puts markers where tables are, and where a fake card would mix up places; reads them back.
    pub(super) fn prepare(&mut self) -> Result<(), Fault> {
        let head = ints::to_u64(self.head.len());
        let mut places = vec![0];
        places.extend(marker::places(head, self.tail_at));
        places.extend((!self.tail.is_empty()).then_some(self.tail_at));
        let mut page = Buffer::new(ALIGN);
        self.generation = marker::fresh_generation(self.disk, &places, &mut page);
        self.left = Left::Unknown;
        self.wipe()?;
        let probes: Vec<u64> = places.into_iter().filter(|at| (head..self.tail_at).contains(at)).collect();
        for at in &probes {
            marker::fill(&mut page, *at, self.generation);
            self.write(&page, *at)?;
        }
        self.sync()?;
        for at in &probes {
            self.check_interrupt()?;
            self.probe(&mut page, *at)?;
        }
        self.probes = probes;
        self.check_markers()?;
        self.left = Left::Unbootable;
        Ok(())
    }

    fn probe(&self, page: &mut Buffer, at: u64) -> Result<(), Fault> {
        self.read(page, at)?;
        if marker::holds(page, at, self.generation) {
            return Ok(());
        }
        Err(Fault::Counterfeit { offset: at })
    }

    /// Reads the first and the last MiB, which must hold markers.
    fn check_markers(&self) -> Result<(), Fault> {
        let mut buffer = Buffer::new(ZEROS.max(self.tail.len()));
        for (at, len) in [(0, self.head.len()), (self.tail_at, self.tail.len())] {
            if len == 0 {
                continue;
            }
            self.read(&mut buffer[..len], at)?;
            if !marker::holds(&buffer[..len], at, self.generation) {
                return Err(Fault::Counterfeit { offset: at });
            }
        }
        Ok(())
    }

    /// Writes markers over the first and the last MiB and flushes.
    fn wipe(&self) -> Result<(), Fault> {
        let mut buffer = Buffer::new(self.head.len().max(self.tail.len()));
        for (at, len) in [(0, self.head.len()), (self.tail_at, self.tail.len())] {
            if len > 0 {
                marker::fill(&mut buffer[..len], at, self.generation);
                self.write(&buffer[..len], at)?;
            }
        }
        self.sync()
    }

    pub(super) fn part(&mut self, part: &Part) -> Result<(), Fault> {
        self.check_interrupt()?;
        let end = match part {
            Part::Data(block) => {
                self.data(block)?;
                block.offset + ints::to_u64(block.bytes().len())
            }
            Part::Zeros { offset, len } => {
                self.zeros(*offset, *len)?;
                offset + len
            }
        };
        self.options.meter.at(end);
        Ok(())
    }

    fn data(&mut self, block: &Block) -> Result<(), Fault> {
        let (offset, mut bytes) = (block.offset, block.bytes());
        if offset < HEAD {
            // Blocks end where the head does. What is beyond the disk is padding, or found to be too long later.
            let at = ints::to_usize(offset);
            let fits = bytes.len().min(self.head.len().saturating_sub(at));
            self.head[at..at + fits].copy_from_slice(&bytes[..fits]);
            return self.check_padding(&bytes[fits..]);
        }
        let mut expected = Arc::clone(&block.digests);
        let end = offset + ints::to_u64(bytes.len());
        if end > self.tail_at {
            let split = ints::to_usize(self.tail_at.saturating_sub(offset)).min(bytes.len());
            let (before, behind) = bytes.split_at(split);
            let at = ints::to_usize(offset.saturating_sub(self.tail_at)).min(self.tail.len());
            let fits = behind.len().min(self.tail.len() - at);
            self.tail[at..at + fits].copy_from_slice(&behind[..fits]);
            self.check_padding(&behind[fits..])?;
            bytes = before;
            expected = digests(bytes);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        match (self.disk.medium(), self.options.rewrite) {
            (Medium::Card, Rewrite::All) => self.write(bytes, offset)?,
            (Medium::Card, Rewrite::Changed) => self.write_changed(Some(bytes), offset, bytes.len())?,
            (Medium::File, _) => self.write_sparse(bytes, offset)?,
        }
        self.written(offset, bytes.len(), Expect::Digests(expected));
        Ok(())
    }

    /// An image may not have more than zeros beyond the end of the disk, where its last page is filled up.
    fn check_padding(&self, beyond: &[u8]) -> Result<(), Fault> {
        if is_zero(beyond) { Ok(()) } else { Err(Fault::TooLong { len: self.disk.len() }) }
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<(), Fault> {
        // Head and tail are zeros from the start.
        let head = ints::to_u64(self.head.len());
        let (mut at, end) = (offset.max(head), offset.saturating_add(len).min(self.tail_at));
        if at >= end {
            return Ok(());
        }
        let (start, whole) = (at, ints::to_usize(end - at));
        while at < end && self.disk.medium() == Medium::Card {
            self.check_interrupt()?;
            let n = ints::to_usize((end - at).min(ints::to_u64(ZEROS)));
            match self.options.rewrite {
                Rewrite::All => self.write(&self.zeros[..n], at)?,
                Rewrite::Changed => self.write_changed(None, at, n)?,
            }
            at += ints::to_u64(n);
            self.options.meter.at(at);
        }
        self.written(start, whole, Expect::Zeros);
        Ok(())
    }

    fn written(&mut self, offset: u64, len: usize, expect: Expect) {
        let len = ints::to_u64(len);
        if let (Expect::Zeros, Some(last)) = (&expect, self.ranges.last_mut())
            && matches!(last.expect, Expect::Zeros)
            && last.offset + last.len == offset
        {
            last.len += len;
            return;
        }
        self.ranges.push(Written { offset, len, expect });
    }

    /// Writes what the card does not hold yet; without bytes, zeros.
    fn write_changed(&mut self, bytes: Option<&[u8]>, offset: u64, len: usize) -> Result<(), Fault> {
        let mut held =
            self.scratch.take().unwrap_or_else(|| Buffer::new(crate::device::read_back::block::BLOCK));
        self.read(&mut held[..len], offset)?;
        let grains = held[..len].chunks(GRAIN).zip((0..len).step_by(GRAIN));
        let is_same = |(grain, at): (&[u8], usize)| match bytes {
            Some(bytes) => bytes[at..at + grain.len()] == *grain,
            None => is_zero(grain),
        };
        let changed: Vec<bool> = grains.map(|grain| !is_same(grain)).collect();
        let mut at = 0;
        for run in changed.chunk_by(|a, b| a == b) {
            let n = (run.len() * GRAIN).min(len - at);
            if run[0] {
                let bytes = bytes.unwrap_or(&self.zeros);
                let from = if bytes.len() < len { 0 } else { at };
                self.write(&bytes[from..from + n], offset + ints::to_u64(at))?;
            } else {
                self.kept += ints::to_u64(n);
            }
            at += n;
        }
        self.scratch = Some(held);
        Ok(())
    }

    /// Writes what is not zero into a new file.
    fn write_sparse(&self, bytes: &[u8], offset: u64) -> Result<(), Fault> {
        let zero: Vec<bool> = bytes.chunks(ALIGN).map(is_zero).collect();
        let mut at = 0;
        for run in zero.chunk_by(|a, b| a == b) {
            let n = (run.len() * ALIGN).min(bytes.len() - at);
            if !run[0] {
                self.write(&bytes[at..at + n], offset + ints::to_u64(at))?;
            }
            at += n;
        }
        Ok(())
    }

    /// Zeros where a page was probed that the image does not care about: the same card however often it is written.
    fn clear_probes(&mut self) -> Result<(), Fault> {
        for at in std::mem::take(&mut self.probes) {
            let after = self.ranges.partition_point(|range| range.offset <= at);
            let before = after.checked_sub(1).map(|last| &self.ranges[last]);
            if before.is_some_and(|range| at < range.offset + range.len) {
                continue;
            }
            self.write(&self.zeros[..ALIGN], at)?;
            self.ranges.insert(after, Written { offset: at, len: PAGE, expect: Expect::Zeros });
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, image_len: u64) -> Result<(), Fault> {
        if image_len > self.disk.len() {
            return Err(Fault::TooLong { len: self.disk.len() });
        }
        self.clear_probes()?;
        if self.disk.medium() == Medium::File {
            // Whole pages until the end, for direct I/O.
            let len = image_len.checked_next_multiple_of(PAGE).unwrap_or(image_len);
            self.disk.set_len(len).map_err(|source| Fault::Write { offset: len, len: 0, source })?;
        }
        self.sync()
    }

    /// Reads back all ranges and the markers; tells how many bytes that were.
    pub(super) fn verify(&self) -> Result<u64, Fault> {
        let total = self.ranges.iter().map(|range| range.len).sum();
        self.options.meter.begin(Phase::Verify, total);
        match scan(self.disk, &self.ranges, self.options.meter, self.options.interrupted) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => return Err(Fault::Differs(found)),
            Err(Stop::Interrupted) => return Err(Fault::Interrupted),
            Err(Stop::Gone { offset, source }) => return Err(reading(offset, source)),
        }
        if self.disk.medium() == Medium::Card {
            self.check_markers()?;
        }
        Ok(total)
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<(), Fault> {
        let len = ints::to_u64(bytes.len());
        if offset.checked_add(len).is_none_or(|end| end > self.disk.len()) {
            return Err(Fault::TooLong { len: self.disk.len() });
        }
        write_all(self.disk, bytes, offset).map_err(|source| writing(offset, len, source))?;
        self.options.meter.add_written(len);
        Ok(())
    }

    pub(super) fn read(&self, out: &mut [u8], offset: u64) -> Result<(), Fault> {
        read_exact(self.disk, out, offset).map_err(|source| reading(offset, source))?;
        self.options.meter.add_read(ints::to_u64(out.len()));
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), Fault> {
        self.disk.sync().map_err(|source| {
            if is_gone(&source) { Fault::Vanished { source } } else { Fault::Flush { source } }
        })
    }

    pub(super) fn check_interrupt(&self) -> Result<(), Fault> {
        if is_set(self.options.interrupted) { Err(Fault::Interrupted) } else { Ok(()) }
    }

    /// Wipes the card again and says what is left of it.
    pub(super) fn fail(self, fault: Fault) -> Error {
        self.options.meter.begin(Phase::Failed, 0);
        let left = match (self.disk.medium(), self.left) {
            (Medium::File, _) => Left::PartOfFile,
            (_, Left::Untouched) => Left::Untouched,
            // Wiped is what was seen to be wiped.
            (_, left) => match self.wipe().and_then(|()| self.check_markers()) {
                Ok(()) => Left::Unbootable,
                // As it was before: no sign of a table was written yet, or nobody knows.
                Err(_) => left,
            },
        };
        Error { target: self.disk.name(), fault, left }
    }
}

pub(super) fn differs(offset: u64, len: usize) -> Fault {
    let mut found = Differences::default();
    found.add(offset, ints::to_u64(len));
    Fault::Differs(found)
}

fn writing(offset: u64, len: u64, source: io::Error) -> Fault {
    match source.kind() {
        _ if is_gone(&source) => Fault::Vanished { source },
        io::ErrorKind::StorageFull | io::ErrorKind::WriteZero => Fault::Full { offset, source },
        _ => Fault::Write { offset, len, source },
    }
}

fn reading(offset: u64, source: io::Error) -> Fault {
    if is_gone(&source) { Fault::Vanished { source } } else { Fault::Read { offset, source } }
}
