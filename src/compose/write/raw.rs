//! Writing an image all over a raw file at once.

use super::in_place::Settled;
use super::job::{Job, jobs, run};
use super::out::{MoveError, Out};
use crate::compose::plan::image::Image;
use crate::image::write::complete_file::RawFile;
use crate::ints;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

/// Writes what of an image is not settled with that many workers.
pub fn write(
    image: &Image,
    settled: &Settled,
    out: &RawFile,
    workers: usize,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<(), MoveError> {
    let jobs = jobs(image, settled);
    let (next, done, stop) = (AtomicUsize::new(0), AtomicU64::new(settled.bytes), AtomicBool::new(false));
    let (finished, wait) = sync_channel::<Result<(), MoveError>>(workers.max(1));
    std::thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            let finished = finished.clone();
            let (jobs, next, done, stop) = (&jobs, &next, &done, &stop);
            scope.spawn(move || {
                let result = scatter(image, jobs, next, &mut Scattered::new(out, done, stop));
                if result.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
                // The receiver outlives the scope.
                drop(finished.send(result));
            });
        }
        drop(finished);
        watch(&wait, &done, &stop, progress)
    })
}

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

fn scatter(
    image: &Image,
    jobs: &[Job],
    next: &AtomicUsize,
    out: &mut Scattered<'_>,
) -> Result<(), MoveError> {
    let mut scratch = Vec::new();
    loop {
        let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { return out.flush() };
        run(image, job, &mut scratch, out)?;
        out.flush()?;
    }
}

/// Gathers small neighbours and writes them with one call.
pub struct Scattered<'a> {
    out: &'a RawFile,
    done: &'a AtomicU64,
    stop: &'a AtomicBool,
    buf: Vec<u8>,
    start: u64,
}

impl<'a> Scattered<'a> {
    /// Longer runs are written as they come, without a copy.
    const GATHER: usize = 128 << 10;

    /// Begins with nothing gathered.
    pub fn new(out: &'a RawFile, done: &'a AtomicU64, stop: &'a AtomicBool) -> Self {
        Self { out, done, stop, buf: Vec::with_capacity(2 * Self::GATHER), start: 0 }
    }

    fn end(&self) -> u64 {
        self.start + ints::to_u64(self.buf.len())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), MoveError> {
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
