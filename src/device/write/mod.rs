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

mod finish;
mod session;

use super::block::{HEAD, Part};
use super::buffer::Buffer;
use super::disk::{ALIGN, Disk, Medium};
use super::fault::{Error, Fault, Left};
use super::meter::{Meter, Phase};
use crate::format::disk::partition_table::SectorSize;
use crate::num;
use session::Session;
use std::sync::atomic::AtomicBool;

/// Zeros are written in pieces of this many bytes.
const ZEROS: usize = 1 << 20;
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

#[cfg(test)]
mod tests;
