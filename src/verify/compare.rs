//! Compares a disk with an image: the caller's thread decodes, another reads the disk past the cache.
//!
//! What the image does not care about is not read. A GPT whose backup was moved to the end of the disk is equal to the
//! image that it came from: the fields that say so, the moved backup and the cleared old one are expected.

use crate::device::buffer::{Buffer, Pool};
use crate::device::disk::{ALIGN, Disk, is_set, read_exact};
use crate::device::read_back::block::{BLOCK, Cutter, HEAD, Part};
use crate::device::read_back::scan::{is_gone, is_zero};
use crate::device::{Differences, Meter, Phase};
use crate::format::disk::partition_table::{Relocated, SectorSize, Span, read, relocate};
use crate::image::{CopyError, Progress, Source, copy};
use crate::ints;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, sync_channel};

/// How a disk is compared.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The sectors of the disk.
    pub sector: SectorSize,
    /// Set to stop.
    pub interrupted: &'a AtomicBool,
    /// Counts.
    pub meter: &'a Meter,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The length of the image.
    pub image_len: u64,
    /// How many bytes were compared.
    pub compared: u64,
    /// Where they differ.
    pub differences: Differences,
    /// Whether the medium was read, and not a cache of the system.
    pub cache_bypassed: bool,
    /// Whether the backup of a GPT was found at the end of the disk instead of the image's.
    pub backup_moved: bool,
    /// Where the partitions of the image are.
    pub partitions: Vec<Span>,
}

impl Comparison {
    /// Whether the disk holds the image.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

/// A comparison came to no end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be read.
    #[error(transparent)]
    Image(CopyError),
    /// The disk cannot be read any more.
    #[error("cannot read {target} at byte {offset}: {source}")]
    Read {
        /// The disk.
        target: String,
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The image is longer than the disk.
    #[error("{target} has {len} bytes, the image is longer")]
    TooSmall {
        /// The disk.
        target: String,
        /// Its length.
        len: u64,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// A thread ended in a way that it never should.
    #[error("the thread that reads {0} ended unexpectedly")]
    Lost(String),
}

/// Blocks in use: one is filled, one waits, one is compared.
const BLOCKS: usize = 3;
/// How exactly differences are told.
const SECTOR: usize = 512;
const PAGES: usize = ints::to_usize(HEAD) / ALIGN;

/// Compares a disk with an image.
pub fn compare(disk: &dyn Disk, source: &mut dyn Source, options: &Options<'_>) -> Result<Comparison, Error> {
    options.meter.begin(Phase::Verify, source.len().unwrap_or(0));
    let too_small = || Error::TooSmall { target: disk.name(), len: disk.len() };
    if source.len().is_some_and(|len| len > disk.len()) {
        return Err(too_small());
    }
    let pool = Pool::new(BLOCKS, BLOCK);
    std::thread::scope(|scope| {
        let (sender, inbox) = sync_channel(BLOCKS);
        let reader = scope.spawn(move || Reader::new(disk, *options).run(&inbox));
        let mut emit = |part: Part| sender.send(part).is_ok();
        let stop = || is_set(options.interrupted);
        let cutter = Box::new(Cutter::new(&pool, &stop, &mut emit).without_digests());
        let copied = copy(source, cutter, &mut Until(options.interrupted));
        drop(sender);
        let found = reader.join().unwrap_or_else(|_| Err(Error::Lost(disk.name())));
        if is_set(options.interrupted) {
            return Err(Error::Interrupted);
        }
        let image_len = match copied {
            Ok(len) => len,
            Err(error @ CopyError::Source(_)) => return Err(Error::Image(error)),
            // The reader has gone, and says why.
            Err(error) => return Err(found.err().unwrap_or(Error::Image(error))),
        };
        let found = found?;
        if image_len > disk.len() {
            return Err(too_small());
        }
        options.meter.begin(Phase::Done, 0);
        Ok(Comparison { image_len, ..found })
    })
}

/// Goes on until the user interrupts.
struct Until<'a>(&'a AtomicBool);

impl Progress for Until<'_> {
    fn at(&mut self, _position: u64) -> bool {
        !is_set(self.0)
    }
}

/// The thread that reads the disk.
struct Reader<'a> {
    disk: &'a dyn Disk,
    options: Options<'a>,
    /// What the image has in the first MiB, and in which pages.
    head: Buffer,
    pages: [bool; PAGES],
    /// Where the image's backup of the GPT was cleared, once the head has been compared.
    settled: Option<Option<Relocated>>,
    partitions: Vec<Span>,
    buffer: Buffer,
    compared: u64,
    found: Differences,
}

impl<'a> Reader<'a> {
    fn new(disk: &'a dyn Disk, options: Options<'a>) -> Self {
        Self {
            disk,
            options,
            head: Buffer::new(ints::to_usize(HEAD)),
            pages: [false; PAGES],
            settled: None,
            partitions: Vec::new(),
            buffer: Buffer::new(BLOCK),
            compared: 0,
            found: Differences::default(),
        }
    }

    fn run(mut self, inbox: &Receiver<Part>) -> Result<Comparison, Error> {
        for part in inbox {
            if is_set(self.options.interrupted) {
                return Err(Error::Interrupted);
            }
            match part {
                Part::Data(block) => self.data(block.offset, block.bytes())?,
                Part::Zeros { offset, len } => self.zeros(offset, len)?,
            }
        }
        let moved = self.settle()?;
        if let Some(Relocated { offset, backup, .. }) = &moved {
            self.range(*offset, Some(backup), backup.len(), None)?;
        }
        Ok(Comparison {
            image_len: 0,
            compared: self.compared,
            differences: self.found,
            cache_bypassed: self.disk.bypasses_cache(),
            backup_moved: moved.is_some(),
            partitions: self.partitions,
        })
    }

    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        if offset < HEAD {
            self.keep(offset, Some(bytes), bytes.len());
            return Ok(());
        }
        let stale = self.settle()?.and_then(|moved| moved.stale);
        self.range(offset, Some(bytes), bytes.len(), stale)
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<(), Error> {
        let end = offset.saturating_add(len);
        if offset < HEAD {
            self.keep(offset, None, ints::to_usize(end.min(HEAD) - offset));
        }
        let mut at = offset.max(HEAD);
        while at < end {
            self.settle()?;
            let n = ints::to_usize((end - at).min(ints::to_u64(BLOCK)));
            self.range(at, None, n, None)?;
            at += ints::to_u64(n);
        }
        Ok(())
    }

    /// Remembers a part of the first MiB; without bytes, zeros.
    fn keep(&mut self, offset: u64, bytes: Option<&[u8]>, len: usize) {
        let at = ints::to_usize(offset);
        match bytes {
            Some(bytes) => self.head[at..at + len].copy_from_slice(bytes),
            None => self.head[at..at + len].fill(0),
        }
        self.pages[at / ALIGN..(at + len).div_ceil(ALIGN)].fill(true);
    }

    /// Compares the first MiB, once, and finds out whether the backup of a GPT was moved.
    fn settle(&mut self) -> Result<Option<Relocated>, Error> {
        if let Some(settled) = &self.settled {
            return Ok(settled.clone());
        }
        let mut plain = Buffer::new(self.head.len());
        std::mem::swap(&mut plain, &mut self.head);
        let mut changed = Buffer::new(plain.len());
        changed.copy_from_slice(&plain);
        self.partitions = read(&&plain[..]).map_or_else(|_| Vec::new(), |reading| reading.places());
        let moved = relocate(&mut changed, self.disk.len(), self.options.sector);
        let mut held = Buffer::new(ints::to_usize(self.disk.len().min(HEAD)));
        let is_readable = self.read(&mut held, 0)?;
        // Which of the two it is, the sector with the GPT's header tells.
        let at = ints::to_usize(self.options.sector.bytes());
        let is_moved = moved.is_some() && is_readable && held.get(at..at * 2) == Some(&changed[at..at * 2]);
        let expected = if is_moved { &changed } else { &plain };
        let pages = self.pages;
        for (page, at) in expected.chunks(ALIGN).zip((0..).step_by(ALIGN)).filter(|(_, at)| pages[at / ALIGN])
        {
            let fits = held.len().saturating_sub(at).min(ALIGN);
            self.check_padding(&page[fits..])?;
            self.compared += ints::to_u64(fits);
            if is_readable && fits > 0 {
                self.sectors(&held[at..at + fits], ints::to_u64(at), Some(page), None);
            }
        }
        let settled = moved.filter(|_| is_moved);
        self.settled = Some(settled.clone());
        Ok(settled)
    }

    /// Compares a range; without bytes, with zeros. Where `stale` is, zeros are right too.
    fn range(
        &mut self,
        offset: u64,
        expected: Option<&[u8]>,
        len: usize,
        stale: Option<(u64, u64)>,
    ) -> Result<(), Error> {
        let fits = ints::to_usize(self.disk.len().saturating_sub(offset)).min(len);
        self.check_padding(expected.map_or(&[], |bytes| &bytes[fits..]))?;
        let mut buffer = std::mem::replace(&mut self.buffer, Buffer::new(0));
        if fits > 0 && self.read(&mut buffer[..fits], offset)? {
            self.sectors(&buffer[..fits], offset, expected, stale);
        }
        self.buffer = buffer;
        self.compared += ints::to_u64(fits);
        self.options.meter.at(offset + ints::to_u64(fits));
        Ok(())
    }

    /// An image may not have more than zeros beyond the end of the disk, where its last page is filled up.
    fn check_padding(&self, beyond: &[u8]) -> Result<(), Error> {
        if is_zero(beyond) {
            return Ok(());
        }
        Err(Error::TooSmall { target: self.disk.name(), len: self.disk.len() })
    }

    fn sectors(&mut self, held: &[u8], offset: u64, expected: Option<&[u8]>, stale: Option<(u64, u64)>) {
        if expected.map_or_else(|| is_zero(held), |expected| expected[..held.len()] == *held) {
            return;
        }
        for (sector, at) in held.chunks(SECTOR).zip((0..).step_by(SECTOR)) {
            let place = offset + ints::to_u64(at);
            let is_same =
                expected.map_or_else(|| is_zero(sector), |bytes| bytes[at..at + sector.len()] == *sector);
            let is_stale = stale.is_some_and(|(from, len)| (from..from + len).contains(&place));
            let is_expected = is_same || (is_stale && is_zero(sector));
            if !is_expected {
                self.found.add(place, ints::to_u64(sector.len()));
            }
        }
    }

    /// Reads a range; `false` if it cannot be read and the disk is still there.
    fn read(&mut self, out: &mut [u8], offset: u64) -> Result<bool, Error> {
        self.options.meter.add_read(ints::to_u64(out.len()));
        match read_exact(self.disk, out, offset) {
            Ok(()) => Ok(true),
            Err(source) if is_gone(&source) || self.found.unreadable > HEAD * 64 => {
                Err(Error::Read { target: self.disk.name(), offset, source })
            }
            Err(_) => {
                self.found.add_unreadable(offset, ints::to_u64(out.len()));
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
