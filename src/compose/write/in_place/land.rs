//! Contents go to their place while the closure is looked through.

use super::worker::Ground;
use crate::compose::plan::landed::Landed;
use crate::compose::resolved::Resolved;
use crate::compose::write::out::MoveError;
use crate::compose::write::scattered::Scattered;
use crate::compose::write::scattered::watch;
use crate::format::nix::nar::Room;
use crate::image::write::complete_file::RawFile;
use crate::tree::Node;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;

/// Reads the NARs of a closure, and puts the files of those that have to be decoded for it to their place in an image whose
/// root begins at byte `start`. `progress` is told of how many bytes of NARs are through, and calls the work off by `false`.
pub fn land(
    closure: &Resolved,
    (out, start): (&RawFile, u64),
    room: &Room,
    workers: usize,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<(Vec<Node<()>>, Landed), MoveError> {
    let workers = workers.max(1);
    let (done, written, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let ground = Ground::new(closure, start, room, workers, &stop);
    let mut trees = BTreeMap::new();
    let (finished, wait) = sync_channel(workers);
    let outcome = std::thread::scope(|scope| {
        let work = |finished: std::sync::mpsc::SyncSender<_>| {
            let mut out = Scattered::new(out, &written, &stop);
            let found = ground.work(&mut out, &done);
            // The receiver outlives the scope.
            drop(finished.send(Ok(())));
            found
        };
        let threads: Vec<_> = (0..workers)
            .map(|_| finished.clone())
            .map(|finished| scope.spawn(move || work(finished)))
            .collect();
        drop(finished);
        let outcome = watch(&wait, &done, &stop, progress);
        for thread in threads {
            // cannot fail: a worker returns its errors
            trees.extend(thread.join().expect("a worker does not panic"));
        }
        outcome
    });
    outcome?;
    let landed = ground.finish()?;
    if trees.len() < closure.members.len() {
        return Err(MoveError::Stopped);
    }
    Ok((trees.into_values().collect(), Landed(landed)))
}
