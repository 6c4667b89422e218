//! Contents that go to their place while the closure is still being looked through.
//!
//! Of a NAR without a listing nobody knows the tree before it is decoded, and an image cannot be planned without all trees.
//! But where the files of the store lie depends on nothing that comes after them ([`ext4::Front`]). So a file that can be
//! written anywhere gets them in the same pass: each NAR is decoded once and hashed on the way. The plan, once it is made,
//! is held against what was written, and decides: what does not lie where it says is written again.
//!
//! A NAR can be placed when all before it are. Until then it waits in memory, if it is short enough; else its worker waits
//! for its turn, or, where too many do so already, leaves its contents for later.

use super::forest::Resolved;
use super::moving::{MoveError, Scattered, watch};
use super::{Content, Error};
use crate::extent::Fill;
use crate::format::ext4;
use crate::format::nar::Room;
use crate::image::file::RawFile;
use crate::num;
use crate::store::{self, Member, Part, PathInfo, Store};
use crate::tree::{Kind, Node};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of the longest NAR that may wait in memory for its turn.
const LONGEST_PARKED: u64 = 16 << 20;
/// Bytes of all that wait.
const PARKING: u64 = 48 << 20;
/// Bytes of a block of the root.
const BLOCK: u64 = 4096;
const ZEROS: [u8; 4096] = [0; 4096];
/// How often who waits looks whether the work was called off.
const LOOK: Duration = Duration::from_millis(100);

/// A piece of a file at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Where in the image.
    offset: u64,
    /// Which file of its source.
    file: u32,
    /// Where in the file.
    at: u64,
    /// Bytes of it.
    len: u64,
}

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

/// A NAR that cannot be placed yet.
enum Parked {
    /// Only the lengths of its files are wanted.
    Sizes(Vec<u64>),
    /// Its files, each filled up to whole blocks as on the disk, how long each is, and how much room was taken for it.
    Whole { bytes: Kept, lens: Vec<u64>, size: u64 },
}

/// Bytes that are kept for later, in chunks that are used again and again: fresh memory costs more than a copy.
#[derive(Default)]
struct Kept(Vec<Vec<u8>>);

/// Bytes of a chunk.
const CHUNK: usize = 256 << 10;

impl Kept {
    fn push(&mut self, mut bytes: &[u8], spare: &Mutex<Vec<Vec<u8>>>) {
        while !bytes.is_empty() {
            let full = self.0.last().is_none_or(|last| last.len() == CHUNK);
            if full {
                let used = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
                self.0.push(used.unwrap_or_else(|| Vec::with_capacity(CHUNK)));
            }
            // cannot fail: there is one now
            let last = self.0.last_mut().expect("a chunk");
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - last.len()));
            last.extend_from_slice(now);
            bytes = later;
        }
    }

    /// Gives the chunks back.
    fn release(mut self, spare: &Mutex<Vec<Vec<u8>>>) {
        self.0.iter_mut().for_each(Vec::clear);
        spare.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.0);
    }
}

/// Where a worker may put a NAR.
enum Berth {
    /// On its way, each file at its place.
    Turn(ext4::Front),
    /// Into memory.
    Memory,
    /// Nowhere.
    None,
}

/// What is known of the order.
struct Chain {
    /// The member that is placed next.
    next: usize,
    /// Where files go next; with a worker while it is that one's turn.
    front: Option<ext4::Front>,
    parked: BTreeMap<usize, Parked>,
    /// Bytes that may still be parked.
    room: u64,
    /// Workers that wait for their turn.
    waiting: usize,
    /// The first member that failed.
    failed: Option<(usize, MoveError)>,
    landed: Vec<Vec<Piece>>,
}

impl Chain {
    fn has_failed_before(&self, at: usize) -> bool {
        self.failed.as_ref().is_some_and(|(failed, _)| *failed < at)
    }
}

/// What all workers share.
struct Ground<'a> {
    stores: &'a [Box<dyn Store>],
    members: &'a [Member],
    room: &'a Room,
    /// Where the root begins in the image, in bytes.
    start: u64,
    /// How many may wait for their turn.
    patient: usize,
    next: AtomicUsize,
    stop: &'a AtomicBool,
    chain: Mutex<Chain>,
    turn: Condvar,
    /// Chunks of what was kept.
    spare: Mutex<Vec<Vec<u8>>>,
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
    let members = &closure.members[..];
    let chain = Chain {
        next: 0,
        front: Some(ext4::Front::default()),
        parked: BTreeMap::new(),
        room: PARKING,
        waiting: 0,
        failed: None,
        landed: vec![Vec::new(); members.len()],
    };
    let ground = Ground {
        stores: &closure.stores,
        members,
        room,
        start,
        patient: workers / 2,
        next: AtomicUsize::new(0),
        stop: &stop,
        chain: Mutex::new(chain),
        turn: Condvar::new(),
        spare: Mutex::default(),
    };
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
    let chain = ground.chain.into_inner().unwrap_or_else(PoisonError::into_inner);
    match chain.failed {
        Some((_, error)) => Err(error),
        None if trees.len() < members.len() => Err(MoveError::Stopped),
        None => Ok((trees.into_values().collect(), Landed(chain.landed))),
    }
}

impl Ground<'_> {
    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes members in their order until there is none left, or one has failed.
    fn work(&self, out: &mut Scattered<'_>, done: &AtomicU64) -> Vec<(usize, Node<()>)> {
        let mut trees = Vec::new();
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(member) = self.members.get(at) else { return trees };
            match self.member(at, member, out) {
                Ok(tree) => trees.push((at, tree)),
                Err(error) => {
                    self.fail(at, error);
                    return trees;
                }
            }
            done.fetch_add(member.info.nar_size, Ordering::Relaxed);
        }
    }

    /// Nobody begins another member. The first failure in order is told, whoever met it.
    fn fail(&self, at: usize, error: MoveError) {
        self.next.store(self.members.len(), Ordering::Relaxed);
        if matches!(error, MoveError::Stopped) {
            return;
        }
        let mut chain = self.chain();
        if chain.failed.as_ref().is_none_or(|(failed, _)| at < *failed) {
            chain.failed = Some((at, error));
        }
        drop(chain);
        self.turn.notify_all();
    }

    fn member(&self, at: usize, member: &Member, out: &mut Scattered<'_>) -> Result<Node<()>, MoveError> {
        let (store, info) = (&*self.stores[member.store], &member.info);
        let known = if store.is_packed() { store.listing(&info.path).map_err(Error::from)? } else { None };
        let berth = if known.is_some() || !store.is_packed() { Berth::None } else { self.berth(at, info)? };
        match berth {
            Berth::Turn(front) => self.stream(at, (store, info), front, out),
            Berth::Memory => self.keep(at, (store, info), out),
            Berth::None => {
                let look = || store::index(store, info, self.room).map_err(Error::from);
                let tree = known.map_or_else(look, Ok)?;
                self.park(at, Parked::Sizes(lengths(&tree)), out)?;
                Ok(tree)
            }
        }
    }

    /// Where a NAR goes; may wait for its turn.
    fn berth(&self, at: usize, info: &PathInfo) -> Result<Berth, MoveError> {
        let size = info.nar_size;
        let mut chain = self.chain();
        loop {
            if chain.has_failed_before(at) || self.stop.load(Ordering::Relaxed) {
                return Err(MoveError::Stopped);
            }
            if chain.next == at
                && let Some(front) = chain.front.take()
            {
                return Ok(Berth::Turn(front));
            }
            if size <= LONGEST_PARKED.min(chain.room) {
                chain.room -= size;
                return Ok(Berth::Memory);
            }
            if chain.waiting >= self.patient {
                return Ok(Berth::None);
            }
            chain.waiting += 1;
            let waited = self.turn.wait_timeout(chain, LOOK);
            chain = waited.unwrap_or_else(PoisonError::into_inner).0;
            chain.waiting -= 1;
        }
    }

    /// Puts each file to its place as it comes.
    fn stream(
        &self,
        at: usize,
        (store, info): (&dyn Store, &PathInfo),
        mut front: ext4::Front,
        out: &mut Scattered<'_>,
    ) -> Result<Node<()>, MoveError> {
        let mut pieces = Vec::new();
        let mut placing = Placing::default();
        let mut files = 0u32..;
        let tree = store::unpack(store, info, self.room, &mut |part| match part {
            Part::File(len) => {
                // cannot fail: an archive with so many files is refused
                let places = self.places(&mut front, files.next().unwrap_or(u32::MAX), len)?;
                pieces.extend_from_slice(&places);
                placing = Placing::new(places);
                Ok(())
            }
            Part::Bytes(bytes) => placing.put(bytes, out),
        })?;
        out.flush()?;
        let mut chain = self.chain();
        chain.front = Some(front);
        chain.next = at + 1;
        chain.landed[at] = pieces;
        drop(chain);
        self.advance(out)?;
        Ok(tree)
    }

    /// Keeps all files in memory until their turn.
    fn keep(
        &self,
        at: usize,
        (store, info): (&dyn Store, &PathInfo),
        out: &mut Scattered<'_>,
    ) -> Result<Node<()>, MoveError> {
        let mut lens = Vec::new();
        let mut bytes = Kept::default();
        let mut padding = 0;
        let tree = store::unpack(store, info, self.room, &mut |part| {
            match part {
                Part::File(len) => {
                    bytes.push(&ZEROS[..padding], &self.spare);
                    padding = num::to_usize(len.next_multiple_of(BLOCK) - len);
                    lens.push(len);
                }
                Part::Bytes(more) => bytes.push(more, &self.spare),
            }
            Ok::<(), MoveError>(())
        })?;
        bytes.push(&ZEROS[..padding], &self.spare);
        self.park(at, Parked::Whole { bytes, lens, size: info.nar_size }, out)?;
        Ok(tree)
    }

    /// Where a file lies in the image.
    fn places(&self, front: &mut ext4::Front, file: u32, len: u64) -> Result<Vec<Piece>, MoveError> {
        let mut at = 0;
        let runs = front.file(len).map_err(Error::from)?.into_iter();
        let piece = |(offset, len)| {
            let piece = Piece { offset: self.start + offset, file, at, len };
            at += len;
            piece
        };
        Ok(runs.map(piece).collect())
    }

    /// Leaves a member for its turn, and places what can be placed.
    fn park(&self, at: usize, parked: Parked, out: &mut Scattered<'_>) -> Result<(), MoveError> {
        self.chain().parked.insert(at, parked);
        self.advance(out)
    }

    /// Places what is parked as far as there is no gap.
    fn advance(&self, out: &mut Scattered<'_>) -> Result<(), MoveError> {
        loop {
            let mut guard = self.chain();
            let chain = &mut *guard;
            let at = chain.next;
            let Some(front) = &mut chain.front else { return Ok(()) };
            let Some(parked) = chain.parked.remove(&at) else { return Ok(()) };
            let (Parked::Sizes(lens) | Parked::Whole { lens, .. }) = &parked;
            let placed: Result<Vec<_>, _> =
                (0..).zip(lens).map(|(file, len)| self.places(front, file, *len)).collect();
            let placed = placed?;
            chain.next = at + 1;
            if let Parked::Whole { .. } = parked {
                chain.landed[at] = placed.concat();
            }
            drop(guard);
            self.turn.notify_all();
            if let Parked::Whole { bytes, size, .. } = parked {
                let mut placing = Placing::new(blocks(placed.concat()));
                for chunk in &bytes.0 {
                    placing.put(chunk, out)?;
                }
                out.flush()?;
                bytes.release(&self.spare);
                self.chain().room += size;
                self.turn.notify_all();
            }
        }
    }
}
/// The lengths of the files of a tree, in the order of a NAR.
fn lengths(node: &Node<()>) -> Vec<u64> {
    fn walk(node: &Node<()>, lens: &mut Vec<u64>) {
        match &node.kind {
            Kind::File { len, .. } => lens.push(*len),
            Kind::Directory(directory) => directory.iter().for_each(|(_, child)| walk(child, lens)),
            Kind::Symlink(_) => {}
        }
    }
    let mut lens = Vec::new();
    walk(node, &mut lens);
    lens
}

/// The blocks that pieces lie in, as few runs.
fn blocks(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut runs: Vec<Piece> = Vec::new();
    for piece in pieces {
        let len = piece.len.next_multiple_of(BLOCK);
        match runs.last_mut() {
            Some(last) if last.offset + last.len == piece.offset => last.len += len,
            _ => runs.push(Piece { len, ..piece }),
        }
    }
    runs
}

/// A file on its way to its pieces.
#[derive(Default)]
struct Placing {
    pieces: std::vec::IntoIter<Piece>,
    /// Where the next byte goes, and how many go there.
    now: (u64, u64),
    /// Bytes of its last block behind the piece.
    padding: u64,
}

impl Placing {
    fn new(pieces: Vec<Piece>) -> Self {
        Self { pieces: pieces.into_iter(), now: (0, 0), padding: 0 }
    }

    fn put(&mut self, mut bytes: &[u8], out: &mut Scattered<'_>) -> Result<(), MoveError> {
        use super::moving::Out;
        while !bytes.is_empty() {
            if self.now.1 == 0 {
                // cannot fail: the reader gives as many bytes as it announced, for which there are places
                let piece = self.pieces.next().expect("a place for each byte");
                self.now = (piece.offset, piece.len);
                self.padding = piece.len.next_multiple_of(BLOCK) - piece.len;
            }
            let (now, later) =
                bytes.split_at(usize::try_from(self.now.1).map_or(bytes.len(), |left| left.min(bytes.len())));
            out.bytes(self.now.0, now)?;
            self.now = (self.now.0 + num::to_u64(now.len()), self.now.1 - num::to_u64(now.len()));
            bytes = later;
            if self.now.1 == 0 {
                // The rest of the block, so that the next file can go with it.
                out.zeros(self.now.0, self.padding)?;
            }
        }
        Ok(())
    }
}
