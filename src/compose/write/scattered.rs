//! Pieces of an image that go to their places in any order, from all workers.

use super::out::MoveError;
use super::out::Out;
use crate::image::write::complete_file::RawFile;
use crate::ints;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

/// Waits for all workers and tells how far they are; the first error that is not a consequence of another wins.
pub fn watch(
    wait: &Receiver<Result<(), MoveError>>,
    done: &AtomicU64,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<(), MoveError> {
    let mut outcome = Ok(());
    loop {
        match wait.recv_timeout(std::time::Duration::from_millis(50)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                if matches!(outcome, Ok(()) | Err(MoveError::Stopped)) {
                    outcome = Err(error);
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                progress(done.load(Ordering::Relaxed));
                return outcome;
            }
        }
        if !progress(done.load(Ordering::Relaxed)) {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Gathers small neighbours and writes them with one call.
pub struct Scattered<'a> {
    pub(crate) out: &'a RawFile,
    pub(crate) done: &'a AtomicU64,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) buf: Vec<u8>,
    pub(crate) start: u64,
}

impl<'a> Scattered<'a> {
    /// Longer runs are written as they come, without a copy.
    pub(crate) const GATHER: usize = 128 << 10;

    /// Begins with nothing gathered.
    pub fn new(out: &'a RawFile, done: &'a AtomicU64, stop: &'a AtomicBool) -> Self {
        Self { out, done, stop, buf: Vec::with_capacity(2 * Self::GATHER), start: 0 }
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + ints::to_u64(self.buf.len())
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), MoveError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(MoveError::Stopped);
        }
        self.out.write_at(offset, bytes).map_err(|source| MoveError::Write { offset, source })
    }

    /// Writes what is gathered.
    pub fn flush(&mut self) -> Result<(), MoveError> {
        if !self.buf.is_empty() {
            self.write(self.start, &self.buf)?;
            self.buf.clear();
        }
        Ok(())
    }
}

impl Out for Scattered<'_> {
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), MoveError> {
        self.done.fetch_add(ints::to_u64(bytes.len()), Ordering::Relaxed);
        if self.end() != offset || self.buf.len() + bytes.len() > 2 * Self::GATHER {
            self.flush()?;
        }
        if bytes.len() >= Self::GATHER && self.buf.is_empty() {
            return self.write(offset, bytes);
        }
        if self.buf.is_empty() {
            self.start = offset;
        }
        self.buf.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<(), MoveError> {
        self.done.fetch_add(len, Ordering::Relaxed);
        // The file reads as zeros already; only gaps that join neighbours are worth a copy.
        if self.end() == offset && !self.buf.is_empty() && len < 4096 {
            self.buf.resize(self.buf.len() + ints::to_usize(len), 0);
        }
        Ok(())
    }
}
