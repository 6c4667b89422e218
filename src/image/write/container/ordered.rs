//! Jobs that several threads do, with results in the order of the jobs. What comes out does not depend on who did what.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Jobs in work for each thread: one in hand, one that waits, one that waits for those before it.
const AHEAD: usize = 3;

/// The threads.
pub(super) struct Ordered<J, R> {
    jobs: Option<SyncSender<(u64, J)>>,
    done: Receiver<(u64, Option<R>)>,
    early: BTreeMap<u64, R>,
    given: u64,
    taken: u64,
    most: u64,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static, R: Send + 'static> Ordered<J, R> {
    /// Starts so many threads, at least one; `worker` makes what does the jobs of one.
    pub fn start<W: FnMut(J) -> R + Send + 'static>(
        threads: u32,
        worker: impl Fn() -> io::Result<W>,
    ) -> io::Result<Self> {
        let count = usize::try_from(threads.max(1)).unwrap_or(1);
        let most = count * AHEAD;
        let (jobs, waiting) = sync_channel(most);
        let (finished, done) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut running = Vec::new();
        for _ in 0..count {
            let (mut work, waiting, finished) = (worker()?, Arc::clone(&waiting), finished.clone());
            running.push(std::thread::spawn(move || {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, job)) = next else { return };
                    // A panic must not leave the others waiting for what never comes.
                    let result = catch_unwind(AssertUnwindSafe(|| work(job))).ok();
                    let has_failed = result.is_none();
                    if finished.send((number, result)).is_err() || has_failed {
                        return;
                    }
                }
            }));
        }
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        let (early, jobs) = (BTreeMap::new(), Some(jobs));
        Ok(Self { jobs, done, early, given: 0, taken: 0, most, threads: running })
    }

    /// Gives a job, and takes the result of the next one in order if enough are in work.
    pub fn give(&mut self, job: J) -> io::Result<Option<R>> {
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send((self.given, job)).map_err(|_| stopped())?;
        self.given += 1;
        if self.given - self.taken < self.most { Ok(None) } else { self.take() }
    }

    /// The result of the next job in order; `None` when all were taken.
    pub fn take(&mut self) -> io::Result<Option<R>> {
        if self.taken == self.given {
            return Ok(None);
        }
        loop {
            if let Some(result) = self.early.remove(&self.taken) {
                self.taken += 1;
                return Ok(Some(result));
            }
            let (number, result) = self.done.recv().map_err(|_| stopped())?;
            self.early.insert(number, result.ok_or_else(stopped)?);
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("a thread that packs has stopped")
}

impl<J, R> Drop for Ordered<J, R> {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            // What it met was told as a result.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_from_any_number_of_threads() {
        for threads in [0, 1, 2, 8] {
            let mut ordered = Ordered::start(threads, || Ok(|job: u64| job * 2)).unwrap();
            let mut found = Vec::new();
            for job in 0..1000 {
                found.extend(ordered.give(job).unwrap());
            }
            while let Some(result) = ordered.take().unwrap() {
                found.push(result);
            }
            assert!(found == (0..1000).map(|job| job * 2).collect::<Vec<_>>(), "{threads}");
        }
    }

    #[test]
    fn a_panic_is_an_error_and_nobody_waits_for_it() {
        let mut ordered = Ordered::start(2, || Ok(|job: u64| assert!(job != 7))).unwrap();
        let result = (0..100).try_for_each(|job| ordered.give(job).map(drop));
        assert!(result.is_err());
    }
}
