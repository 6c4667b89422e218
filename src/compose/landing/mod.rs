//! Contents that go to their place while the closure is still being looked through.
//!
//! Of a NAR without a listing nobody knows the tree before it is decoded, and an image cannot be planned without all trees.
//! But where the files of the store lie depends on nothing that comes after them ([`ext4::Front`]). So a file that can be
//! written anywhere gets them in the same pass: each NAR is decoded once and hashed on the way. The plan, once it is made,
//! is held against what was written, and decides: what does not lie where it says is written again.
//!
//! A NAR can be placed when all before it are. Until then it waits in memory, if it is short enough; else its worker waits
//! for its turn, or, where too many do so already, leaves its contents for later.

mod placing;
mod worker;

use super::Content;
use super::forest::Resolved;
use super::moving::{MoveError, Scattered, watch};
use crate::extent::Fill;
use crate::format::nix::nar::Room;
use crate::image::write::complete_file::RawFile;
use crate::num;
use crate::tree::Node;
use placing::Piece;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::sync_channel;
use worker::Ground;

/// What lies at its place already, by source.
#[derive(Debug, Default)]
pub struct Landed(Vec<Vec<Piece>>);

/// Which extents of a plan need not be moved.
#[derive(Debug, Default)]
pub struct Settled {
    /// By part and extent.
    done: Vec<Vec<bool>>,
    /// Sources whose contents were verified.
    pub sources: Vec<bool>,
    /// Bytes of what is done.
    pub bytes: u64,
}

impl Settled {
    /// Whether an extent is at its place.
    pub fn has(&self, part: usize, extent: usize) -> bool {
        self.done.get(part).and_then(|done| done.get(extent)).is_some_and(|done| *done)
    }
}

impl Landed {
    /// Holds what was written against a plan; `None` where it does not lie where the plan says.
    pub fn settle(&self, parts: &[super::assembly::Part]) -> Option<Settled> {
        let mut next = vec![0; self.0.len()];
        let mut settled = Settled {
            sources: self.0.iter().map(|pieces| !pieces.is_empty()).collect(),
            ..Settled::default()
        };
        for part in parts {
            let extents = part.layout.extents().iter().map(|extent| {
                let Fill::Content { content: Content::Packed { source, file }, at, len } = extent.fill else {
                    return false;
                };
                let source = num::to_usize(u64::from(source));
                let Some(pieces) = self.0.get(source) else { return false };
                let piece = Piece { offset: part.offset + extent.offset, file, at, len };
                let is_next = pieces.get(next[source]) == Some(&piece);
                next[source] += usize::from(is_next);
                settled.bytes += if is_next { len } else { 0 };
                is_next
            });
            settled.done.push(extents.collect());
        }
        let is_complete = self.0.iter().zip(next).all(|(pieces, next)| next == pieces.len());
        is_complete.then_some(settled)
    }
}

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
