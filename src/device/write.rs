//! The order of a safe write, as types: what may be done next is what the type offers.
//!
//! ```text
//! begin    [Card] first and last MiB become markers, pages in between are probed, all flushed and read back
//!   -> Writing    parts are written, the first and the last MiB kept in memory
//!   -> Flushed    one flush; if it fails it is final, for a second one would say yes
//!   -> Verified   every range read back from the medium, the markers too
//!   -> Report     last MiB with the moved backup of the GPT; the first MiB without its first page; that page
//! ```
//! The markers stay until all is verified. If the end of the disk is really another place of it (a fake card), either
//! the data have overwritten the markers there, which the verification sees, or the last MiB overwrites nothing.
//! Whatever fails, the markers are written again: no prefix of these writes is a disk that looks bootable.

use super::block::{Block, HEAD, Part, digests};
use super::buffer::Buffer;
use super::differences::Differences;
use super::disk::{ALIGN, Disk, Medium, is_set, read_exact, write_all};
use super::fault::{Error, Fault, Left};
use super::marker;
use super::meter::{Meter, Phase};
use super::scan::{Expect, Stop, Written, is_gone, is_zero, scan};
use crate::format::ext4::grow::{Changes, grow as grow_ext4};
use crate::format::partition_table::{Relocated, SectorSize, grow as grow_table, relocate};
use crate::num;
use crate::stream::ReadAt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Zeros are written in pieces of this many bytes.
const ZEROS: usize = 1 << 20;
/// How finely `Rewrite::Changed` tells what has changed.
const GRAIN: usize = 64 << 10;
const PAGE: u64 = num::to_u64(ALIGN);

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

/// How sure it is that the card holds the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The medium was read and holds it.
    Medium,
    /// What was read is right, but may have come from a cache of the system.
    Cached,
    /// Nobody asked.
    Skipped,
}

/// A card was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The length of the image.
    pub image_len: u64,
    /// Bytes written, in all.
    pub written: u64,
    /// Bytes that the card held already.
    pub kept: u64,
    /// Bytes read back and right.
    pub verified: u64,
    /// How sure that is.
    pub verification: Verification,
    /// Whether the backup of a GPT was moved to the end of the card.
    pub backup_moved: bool,
    /// What became of the last partition, if it should grow.
    pub growth: Option<Growth>,
}

/// What became of the last partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Its number.
    pub number: u32,
    /// Its length now, in bytes.
    pub len: u64,
    /// Why its file system was left as it is, where it was.
    pub left: Option<String>,
}

/// A partition of an open disk.
struct Within<'a> {
    disk: &'a dyn Disk,
    start: u64,
    len: u64,
}

impl ReadAt for Within<'_> {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut aligned = Buffer::new(buf.len());
        read_exact(self.disk, &mut aligned, self.start + offset)?;
        buf.copy_from_slice(&aligned);
        Ok(())
    }
}

/// A write in progress: what all phases share.
struct Session<'a> {
    disk: &'a dyn Disk,
    options: Options<'a>,
    generation: u8,
    /// The first MiB of the image.
    head: Buffer,
    /// The last MiB of the card, from `tail_at`.
    tail: Buffer,
    tail_at: u64,
    zeros: Buffer,
    scratch: Option<Buffer>,
    ranges: Vec<Written>,
    kept: u64,
    left: Left,
    growth: Option<Growth>,
    /// Where pages were probed.
    probes: Vec<u64>,
}

/// Parts may be written.
pub struct Writing<'a>(Session<'a>);

/// All parts are on the medium, as far as it says.
pub struct Flushed<'a> {
    session: Session<'a>,
    image_len: u64,
}

/// All parts were read back.
pub struct Verified<'a> {
    session: Session<'a>,
    image_len: u64,
    verified: u64,
}

/// Begins a write: from here on the card has no table until it is verified.
pub fn begin<'a>(disk: &'a dyn Disk, options: Options<'a>) -> Result<Writing<'a>, Error> {
    let len = disk.len();
    let (head, tail_at, tail) = match disk.medium() {
        Medium::Card => {
            let head = len.min(HEAD);
            let tail_at = head.max(len.saturating_sub(HEAD) / PAGE * PAGE);
            (head, tail_at, len - tail_at)
        }
        Medium::File => (HEAD, u64::MAX, 0),
    };
    let buffer = |len| Buffer::new(num::to_usize(len));
    let mut session = Session {
        disk,
        options,
        generation: 0,
        head: buffer(head),
        tail: buffer(tail),
        tail_at,
        zeros: Buffer::new(ZEROS),
        scratch: None,
        ranges: Vec::new(),
        kept: 0,
        left: Left::Untouched,
        growth: None,
        probes: Vec::new(),
    };
    if disk.medium() == Medium::Card {
        options.meter.begin(Phase::Prepare, 0);
        if let Err(fault) = session.prepare() {
            return Err(session.fail(fault));
        }
    }
    options.meter.begin(Phase::Write, 0);
    Ok(Writing(session))
}

impl<'a> Writing<'a> {
    /// Writes a part.
    pub fn part(mut self, part: &Part) -> Result<Self, Error> {
        match self.0.part(part) {
            Ok(()) => Ok(self),
            Err(fault) => Err(self.0.fail(fault)),
        }
    }

    /// Gives up: the source failed, or another reason outside of the card.
    pub fn abandon(self, fault: Fault) -> Error {
        self.0.fail(fault)
    }

    /// Makes all parts durable. `image_len` is where the image ends.
    pub fn flush(self, image_len: u64) -> Result<Flushed<'a>, Error> {
        let mut session = self.0;
        session.options.meter.begin(Phase::Flush, 0);
        let result = session.flush(image_len);
        match result {
            Ok(()) => Ok(Flushed { session, image_len }),
            Err(fault) => Err(session.fail(fault)),
        }
    }
}

impl<'a> Flushed<'a> {
    /// Reads back what was written, unless nobody asked for it.
    pub fn verify(self) -> Result<Verified<'a>, Error> {
        let Self { session, image_len } = self;
        if session.options.check == Check::Skip {
            return Ok(Verified { session, image_len, verified: 0 });
        }
        match session.verify() {
            Ok(verified) => Ok(Verified { session, image_len, verified }),
            Err(fault) => Err(session.fail(fault)),
        }
    }
}

impl Verified<'_> {
    /// Writes the table, and with it all that was kept back.
    pub fn finish(self) -> Result<Report, Error> {
        let Self { mut session, image_len, verified } = self;
        session.options.meter.begin(Phase::Finish, 0);
        let backup_moved = match session.finish(image_len) {
            Ok(moved) => moved,
            Err(fault) => return Err(session.fail(fault)),
        };
        let growth = session.growth.take();
        let verification = match (session.options.check, session.disk.bypasses_cache()) {
            (Check::Skip, _) => Verification::Skipped,
            (Check::Verify, true) => Verification::Medium,
            (Check::Verify, false) => Verification::Cached,
        };
        session.options.meter.begin(Phase::Done, 0);
        let written = session.options.meter.written();
        Ok(Report { image_len, written, kept: session.kept, verified, verification, backup_moved, growth })
    }
}

impl Session<'_> {
    /// Puts markers where tables are, and where a fake card would mix up places; reads them back.
    fn prepare(&mut self) -> Result<(), Fault> {
        let head = num::to_u64(self.head.len());
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

    fn part(&mut self, part: &Part) -> Result<(), Fault> {
        self.check_interrupt()?;
        let end = match part {
            Part::Data(block) => {
                self.data(block)?;
                block.offset + num::to_u64(block.bytes().len())
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
            let at = num::to_usize(offset);
            let fits = bytes.len().min(self.head.len().saturating_sub(at));
            self.head[at..at + fits].copy_from_slice(&bytes[..fits]);
            return self.check_padding(&bytes[fits..]);
        }
        let mut expected = Arc::clone(&block.digests);
        let end = offset + num::to_u64(bytes.len());
        if end > self.tail_at {
            let split = num::to_usize(self.tail_at.saturating_sub(offset)).min(bytes.len());
            let (before, behind) = bytes.split_at(split);
            let at = num::to_usize(offset.saturating_sub(self.tail_at)).min(self.tail.len());
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
        let head = num::to_u64(self.head.len());
        let (mut at, end) = (offset.max(head), offset.saturating_add(len).min(self.tail_at));
        if at >= end {
            return Ok(());
        }
        let (start, whole) = (at, num::to_usize(end - at));
        while at < end && self.disk.medium() == Medium::Card {
            self.check_interrupt()?;
            let n = num::to_usize((end - at).min(num::to_u64(ZEROS)));
            match self.options.rewrite {
                Rewrite::All => self.write(&self.zeros[..n], at)?,
                Rewrite::Changed => self.write_changed(None, at, n)?,
            }
            at += num::to_u64(n);
            self.options.meter.at(at);
        }
        self.written(start, whole, Expect::Zeros);
        Ok(())
    }

    fn written(&mut self, offset: u64, len: usize, expect: Expect) {
        let len = num::to_u64(len);
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
        let mut held = self.scratch.take().unwrap_or_else(|| Buffer::new(super::block::BLOCK));
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
                self.write(&bytes[from..from + n], offset + num::to_u64(at))?;
            } else {
                self.kept += num::to_u64(n);
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
                self.write(&bytes[at..at + n], offset + num::to_u64(at))?;
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

    fn flush(&mut self, image_len: u64) -> Result<(), Fault> {
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
    fn verify(&self) -> Result<u64, Fault> {
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

    /// Writes the last MiB, then the first without its first page, then that page: each flushed and read back.
    fn finish(&mut self, image_len: u64) -> Result<bool, Fault> {
        self.check_interrupt()?;
        if self.options.grow && self.disk.medium() == Medium::Card {
            self.grow()?;
        }
        let moved = match self.disk.medium() {
            Medium::Card => relocate(&mut self.head, self.disk.len(), self.options.sector),
            Medium::File => None,
        };
        if let Some(moved) = &moved {
            self.take_backup(moved)?;
        }
        // From the first sign of a table on: unless it can be wiped again, the card may look complete.
        self.left = Left::Unknown;
        for kept in [Kept::Tail, Kept::Head, Kept::FirstPage] {
            self.write_kept(kept)?;
        }
        if self.disk.medium() == Medium::File {
            self.disk.set_len(image_len).map_err(|source| Fault::Write {
                offset: image_len,
                len: 0,
                source,
            })?;
            self.sync()?;
        }
        Ok(moved.is_some())
    }

    /// Makes the last partition reach the end, and the ext4 in it, which is all on the card already.
    fn grow(&mut self) -> Result<(), Fault> {
        let Some(partition) = grow_table(&mut self.head, self.disk.len(), self.options.sector) else {
            return Ok(());
        };
        let mut growth = Growth { number: partition.number, len: partition.len, left: None };
        let found = if partition.start < HEAD {
            Err("it begins in the first MiB".to_owned())
        } else {
            grow_ext4(&Within { disk: self.disk, start: partition.start, len: partition.len }, partition.len)
                .map_err(|error| error.to_string())
        };
        match found {
            Ok(changes) => {
                self.change(partition.start, changes.map(|(_, changes)| changes).unwrap_or_default())?
            }
            Err(why) => growth.left = Some(why),
        }
        self.growth = Some(growth);
        Ok(())
    }

    /// Writes blocks, flushes, and reads them back.
    fn change(&self, start: u64, changes: Changes) -> Result<(), Fault> {
        for (offset, bytes) in &changes {
            let mut buffer = Buffer::new(bytes.len());
            buffer.copy_from_slice(bytes);
            self.write(&buffer, start + offset)?;
        }
        self.sync()?;
        for (offset, bytes) in &changes {
            let mut back = Buffer::new(bytes.len());
            self.read(&mut back, start + offset)?;
            if back[..] != bytes[..] {
                return Err(differs(start + offset, bytes.len()));
            }
        }
        Ok(())
    }

    /// Puts a moved backup into the last MiB and clears the old one.
    fn take_backup(&mut self, moved: &Relocated) -> Result<(), Fault> {
        if let Some((from, len)) = moved.stale {
            let to = from.saturating_add(len).min(self.tail_at);
            let from_head = num::to_usize(from).min(self.head.len());
            let to_head = num::to_usize(to).min(self.head.len());
            self.head[from_head..to_head].fill(0);
            self.clear(from.max(num::to_u64(self.head.len())), to)?;
            let tail = |at: u64| num::to_usize(at.saturating_sub(self.tail_at)).min(self.tail.len());
            let (from, to) = (tail(from), tail(from.saturating_add(len)));
            self.tail[from..to].fill(0);
        }
        // The backup is shorter than a MiB, so it lies in the tail; on tiny disks, partly in the head.
        for (byte, at) in moved.backup.iter().zip(moved.offset..) {
            let place = match at.checked_sub(self.tail_at) {
                Some(at) => self.tail.get_mut(num::to_usize(at)),
                None => self.head.get_mut(num::to_usize(at)),
            };
            *place.ok_or(Fault::TooLong { len: self.disk.len() })? = *byte;
        }
        Ok(())
    }

    /// Writes zeros over sectors between head and tail.
    fn clear(&self, from: u64, to: u64) -> Result<(), Fault> {
        let len = num::to_usize(to.saturating_sub(from)).min(ZEROS);
        if len == 0 {
            return Ok(());
        }
        self.write(&self.zeros[..len], from)?;
        self.sync()?;
        let mut back = Buffer::new(len);
        self.read(&mut back, from)?;
        if is_zero(&back) { Ok(()) } else { Err(differs(from, len)) }
    }

    fn write_kept(&self, kept: Kept) -> Result<(), Fault> {
        let page = self.head.len().min(ALIGN);
        let (bytes, offset) = match kept {
            Kept::Tail => (&self.tail[..], self.tail_at),
            Kept::Head => (&self.head[page..], PAGE),
            Kept::FirstPage => (&self.head[..page], 0),
        };
        if bytes.is_empty() {
            return Ok(());
        }
        self.write(bytes, offset)?;
        self.sync()?;
        let mut back = Buffer::new(bytes.len());
        self.read(&mut back, offset)?;
        if &back[..] == bytes { Ok(()) } else { Err(differs(offset, bytes.len())) }
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), Fault> {
        let len = num::to_u64(bytes.len());
        if offset.checked_add(len).is_none_or(|end| end > self.disk.len()) {
            return Err(Fault::TooLong { len: self.disk.len() });
        }
        write_all(self.disk, bytes, offset).map_err(|source| writing(offset, len, source))?;
        self.options.meter.add_written(len);
        Ok(())
    }

    fn read(&self, out: &mut [u8], offset: u64) -> Result<(), Fault> {
        read_exact(self.disk, out, offset).map_err(|source| reading(offset, source))?;
        self.options.meter.add_read(num::to_u64(out.len()));
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        self.disk.sync().map_err(|source| {
            if is_gone(&source) { Fault::Vanished { source } } else { Fault::Flush { source } }
        })
    }

    fn check_interrupt(&self) -> Result<(), Fault> {
        if is_set(self.options.interrupted) { Err(Fault::Interrupted) } else { Ok(()) }
    }

    /// Wipes the card again and says what is left of it.
    fn fail(self, fault: Fault) -> Error {
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

/// What is written after the verification, in this order.
#[derive(Clone, Copy)]
enum Kept {
    Tail,
    Head,
    FirstPage,
}

fn differs(offset: u64, len: usize) -> Fault {
    let mut found = Differences::default();
    found.add(offset, num::to_u64(len));
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

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
