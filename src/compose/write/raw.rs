//! Writing an image all over a raw file at once.

use super::in_place::Settled;
use super::job::{Job, jobs, run};
use super::out::MoveError;
use crate::compose::plan::image::Image;
use crate::compose::write::scattered::Scattered;
use crate::compose::write::scattered::watch;
use crate::image::write::complete_file::RawFile;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

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
