//! The phases of a write as types: what may be done next is what the type offers.

use super::fault::Error;
use super::fault::Fault;
use super::fault::Left;
use super::options::Check;
use super::options::Options;
use super::page::PAGE;
use super::page::ZEROS;
use super::report::Report;
use super::report::Verification;
use super::session::Session;
use crate::device::buffer::Buffer;
use crate::device::disk::Disk;
use crate::device::disk::Medium;
use crate::device::progress::Phase;
use crate::device::read_back::block::HEAD;
use crate::device::read_back::block::Part;
use crate::ints;

/// Parts may be written.
pub struct Writing<'a>(Session<'a>);

/// All parts are on the medium, as far as it says.
pub struct Flushed<'a> {
    pub(super) session: Session<'a>,
    pub(super) image_len: u64,
}

/// All parts were read back.
pub struct Verified<'a> {
    pub(super) session: Session<'a>,
    pub(super) image_len: u64,
    pub(super) verified: u64,
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
    let buffer = |len| Buffer::new(ints::to_usize(len));
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
        ungrown: None,
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
        let ungrown = session.ungrown.take();
        // A file has its first MiB kept back too; it was read back when it was written, as all else.
        let is_file = session.disk.medium() == Medium::File && session.options.check == Check::Verify;
        let head = ints::to_u64(session.head.len()).min(image_len);
        let verified = if is_file { verified.saturating_add(head) } else { verified };
        let verification = match (session.options.check, session.disk.bypasses_cache()) {
            (Check::Skip, _) => Verification::Skipped,
            (Check::Verify, true) => Verification::Medium,
            (Check::Verify, false) => Verification::Cached,
        };
        session.options.meter.begin(Phase::Done, 0);
        let written = session.options.meter.written();
        Ok(Report {
            image_len,
            written,
            kept: session.kept,
            verified,
            verification,
            backup_moved,
            growth,
            ungrown,
        })
    }
}
