//! Writes the volumes and switches between them.

use super::content::Content;
use super::error::{Error, Left};
use super::fat_types::SECTOR;
use super::home::NOTE;
use super::place::Placed;
use super::plan::Plan;
use super::volume::{self, Current};
use crate::device::Reader;
use crate::device::buffer::Buffer;
use crate::device::disk::{ALIGN, Disk, is_set, read_exact, write_all};
use crate::extent::{Extent, Fill, Layout};
use crate::format::disk::fat::read::Error as VolumeError;
use crate::format::disk::partition_table::Span;
use crate::ints;
use std::io::{self, Read};
use std::sync::atomic::AtomicBool;

/// Bytes that are moved at once.
const PIECE: usize = 1 << 20;
const SECTOR_BYTES: u64 = ints::to_u64(SECTOR);

/// What an update has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Bytes written.
    pub written: u64,
    /// Whether what was read back came from the medium.
    pub verified: bool,
}

impl Plan {
    /// Does it. `at` hears how many bytes are written.
    pub fn apply(
        &self,
        disk: &dyn Disk,
        stop: &AtomicBool,
        at: &mut dyn FnMut(u64),
    ) -> Result<Report, Error> {
        let mut run = Run { plan: self, disk, stop, at, written: 0, left: Left::Old };
        let mut from = self.places.current;
        if self.places.interrupted {
            run.left = Left::New;
        }
        if let Some(second) = &self.places.second {
            run.volume(second, from, "the second volume")?;
            run.switch(second.span)?;
            run.left = Left::New;
            from = second.span;
        }
        run.volume(&self.places.home, from, "the new volume")?;
        run.switch(self.places.home.span)?;
        Ok(Report { written: run.written, verified: disk.bypasses_cache() })
    }

    /// The first sector with the partition somewhere else.
    fn sector_for(&self, span: Span) -> Vec<u8> {
        let mut sector = self.sector.clone();
        let at = 446 + 16 * self.entry + 8;
        let word = |bytes: u64| u32::try_from(bytes / SECTOR_BYTES).unwrap_or(0).to_le_bytes();
        sector[at..at + 4].copy_from_slice(&word(span.start));
        sector[at + 4..at + 8].copy_from_slice(&word(span.len));
        sector
    }
}

struct Run<'a> {
    plan: &'a Plan,
    disk: &'a dyn Disk,
    stop: &'a AtomicBool,
    at: &'a mut dyn FnMut(u64),
    written: u64,
    left: Left,
}

impl Run<'_> {
    fn io(&self, what: &'static str) -> impl Fn(io::Error) -> Error + use<> {
        let left = self.left;
        move |source| Error::Io { what, source, left }
    }

    /// What a volume that can no longer be read means for the card.
    fn reading(&self, error: VolumeError) -> Error {
        match error {
            VolumeError::Io { source, .. } | VolumeError::Reader { source, .. } => {
                self.io("cannot read the card")(source)
            }
            error => Error::Volume(error),
        }
    }

    fn told(&self, error: Error) -> Error {
        match error {
            Error::Volume(error) => self.reading(error),
            error => error,
        }
    }

    /// Writes a volume out of the one the card boots, flushes, and reads it back.
    fn volume(&mut self, placed: &Placed, from: Span, what: &'static str) -> Result<(), Error> {
        let reader = Reader::new(self.disk);
        let current = volume::open(&reader, from).map_err(|error| self.reading(error))?;
        let mut buffer = Buffer::new(PIECE);
        for (index, extent) in placed.fat.extents().iter().enumerate() {
            if is_set(self.stop) {
                return Err(Error::Interrupted(self.left));
            }
            self.extent(placed, (index, extent), &current, &mut buffer)?;
        }
        self.disk.sync().map_err(self.io("cannot flush the card"))?;
        self.verify(placed, &current, what)
    }

    fn extent(
        &mut self,
        placed: &Placed,
        (index, extent): (usize, &Extent<Content>),
        current: &Current<'_>,
        buffer: &mut Buffer,
    ) -> Result<(), Error> {
        let len = ints::to_usize(extent.len);
        let mut encoded = Vec::new();
        let mut contents: Box<dyn Read + '_> = match extent.fill {
            Fill::Zeros => Box::new(io::empty()),
            Fill::Encoded => {
                encoded.resize(len, 0);
                placed.fat.encode(index, &mut encoded);
                Box::new(&encoded[..])
            }
            Fill::Content { content, .. } => {
                contents(self.plan, content, current).map_err(|error| self.told(error))?
            }
        };
        let mut done = 0;
        while done < len {
            let now = (len - done).min(PIECE);
            let filled = fill(&mut *contents, &mut buffer[..now]).map_err(self.io("cannot read the card"))?;
            buffer[filled..now].fill(0);
            let offset = placed.span.start + extent.offset + ints::to_u64(done);
            write_all(self.disk, &buffer[..now], offset).map_err(self.io("cannot write the card"))?;
            done += now;
            self.written += ints::to_u64(now);
            (self.at)(self.written);
        }
        Ok(())
    }

    /// Reads a volume as a card's owner would, and compares every file.
    fn verify(&self, placed: &Placed, current: &Current<'_>, what: &'static str) -> Result<(), Error> {
        let differs = |what: String| Error::Differs { what, left: self.left };
        // A reader of its own: the other one remembers what was there before.
        let reader = Reader::new(self.disk);
        let written = volume::open(&reader, placed.span).map_err(|error| match self.reading(error) {
            Error::Volume(error) => differs(format!("{what} ({error})")),
            error => error,
        })?;
        for (path, bytes) in &self.plan.changes.new {
            if !written.holds(path, bytes).map_err(|error| self.told(error))? {
                return Err(differs(path.clone()));
            }
        }
        for path in &self.plan.changes.kept {
            let mut before = current.fat.open_file(&path[1..]).map_err(|error| self.reading(error))?;
            if !written.compare(path, &mut before).map_err(|error| self.reading(error))? {
                return Err(differs(path.clone()));
            }
        }
        Ok(())
    }

    /// Lets the partition table point somewhere else: one sector, which is there or is not.
    fn switch(&mut self, span: Span) -> Result<(), Error> {
        if is_set(self.stop) {
            return Err(Error::Interrupted(self.left));
        }
        let sector = self.plan.sector_for(span);
        let mut page = Buffer::new(ALIGN);
        read_exact(self.disk, &mut page, 0).map_err(self.io("cannot read the partition table"))?;
        // From here on nobody knows which sector the card has, until it was read back.
        if self.left == Left::Old {
            self.left = Left::Either;
        }
        // The rest of the page is written as it is: some files take whole pages only.
        page[..SECTOR].copy_from_slice(&sector);
        write_all(self.disk, &page, 0).map_err(self.io("cannot write the partition table"))?;
        self.disk.sync().map_err(self.io("cannot flush the card"))?;
        read_exact(self.disk, &mut page, 0).map_err(self.io("cannot read the partition table"))?;
        self.written += ints::to_u64(ALIGN);
        if page[..SECTOR] != sector[..] {
            return Err(Error::Differs { what: "the partition table".to_owned(), left: self.left });
        }
        Ok(())
    }
}

/// What a file of a new volume has in it.
fn contents<'a>(
    plan: &'a Plan,
    content: Content,
    current: &'a Current<'_>,
) -> Result<Box<dyn Read + 'a>, Error> {
    Ok(match content {
        Content::New(NOTE) => Box::new(&plan.places.note[..]),
        Content::New(at) => Box::new(&plan.changes.new[ints::to_usize(u64::from(at))].1[..]),
        Content::Kept(at) => {
            let path = &plan.changes.kept[ints::to_usize(u64::from(at))];
            Box::new(current.fat.open_file(&path[1..])?)
        }
    })
}

/// Reads until a buffer is full or nothing is left.
fn fill(from: &mut dyn Read, to: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < to.len() {
        match from.read(&mut to[done..]) {
            Ok(0) => break,
            Ok(len) => done += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
