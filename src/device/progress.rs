//! How far the writing of a card has come, for whoever wants to show it: read by another thread at any time.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What is being done to a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing yet.
    Waiting,
    /// The old table is wiped, the capacity probed.
    Prepare,
    /// The image is written, or compared.
    Write,
    /// The caches are written out.
    Flush,
    /// What was written is read back.
    Verify,
    /// The table is written.
    Finish,
    /// All is done.
    Done,
    /// It failed.
    Failed,
}

const PHASES: [Phase; 8] = [
    Phase::Waiting,
    Phase::Prepare,
    Phase::Write,
    Phase::Flush,
    Phase::Verify,
    Phase::Finish,
    Phase::Done,
    Phase::Failed,
];

/// Counters that one thread moves and any other reads.
#[derive(Debug, Default)]
pub struct Meter {
    phase: AtomicU8,
    position: AtomicU64,
    total: AtomicU64,
    written: AtomicU64,
    read: AtomicU64,
}

impl Meter {
    /// What is being done.
    #[must_use]
    pub fn phase(&self) -> Phase {
        PHASES.get(usize::from(self.phase.load(Ordering::Relaxed))).copied().unwrap_or(Phase::Waiting)
    }

    /// How far the phase is: a position in the image while writing, bytes read while verifying.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// How far the phase will go; 0 where that is not known.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Bytes written so far, in all phases.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Bytes read so far, in all phases.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Begins a phase.
    pub fn begin(&self, phase: Phase, total: u64) {
        let number = PHASES.iter().position(|other| *other == phase).unwrap_or(0);
        self.position.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.phase.store(u8::try_from(number).unwrap_or(0), Ordering::Relaxed);
    }

    /// The phase has come to a position.
    pub fn at(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// Bytes were written.
    pub fn add_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes were read.
    pub fn add_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }
}
