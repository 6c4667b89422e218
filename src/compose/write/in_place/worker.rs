//! Workers that take members in their order, and who may place what.

use super::placing::{Kept, Placing, Spare, blocks, padding};
use crate::compose::error::Error;
use crate::compose::plan::piece::Piece;
use crate::compose::resolved::Resolved;
use crate::compose::write::out::MoveError;
use crate::compose::write::scattered::Scattered;
use crate::format::disk::ext4;
use crate::format::nix::nar::Room;
use crate::store;
use crate::store::{Member, Part, PathInfo, Store};
use crate::tree::{Kind, Node};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of the longest NAR that may wait in memory for its turn.
const LONGEST_PARKED: u64 = 16 << 20;
/// The most memory that one may take there: with its files in whole blocks.
const LARGEST_PARKED: u64 = 24 << 20;
/// Bytes of all that wait.
const PARKING: u64 = 48 << 20;
/// How often who waits looks whether the work was called off.
const LOOK: Duration = Duration::from_millis(100);

/// A NAR that cannot be placed yet.
enum Parked {
    /// Only the lengths of its files are wanted.
    Sizes(Vec<u64>),
    /// Its files, each filled up to whole blocks as on the disk, how long each is, and how much room was taken for it.
    Whole { bytes: Kept, lens: Vec<u64>, size: u64 },
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
    /// Bytes that are parked.
    taken: u64,
    /// Workers that wait for their turn.
    waiting: usize,
    /// The first member that failed.
    failed: Option<(usize, MoveError)>,
    landed: Vec<Vec<Piece>>,
}

impl Chain {
    /// Gives back what was taken of the memory for NARs that are parked, and takes what is needed.
    const fn give(&mut self, taken: u64, needed: u64) {
        self.taken = self.taken - taken + needed;
    }

    fn has_failed_before(&self, at: usize) -> bool {
        self.failed.as_ref().is_some_and(|(failed, _)| *failed < at)
    }
}

/// What all workers share.
pub struct Ground<'a> {
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
    spare: Spare,
}

impl<'a> Ground<'a> {
    /// Begins before the first member.
    pub fn new(
        closure: &'a Resolved,
        start: u64,
        room: &'a Room,
        workers: usize,
        stop: &'a AtomicBool,
    ) -> Self {
        let chain = Chain {
            next: 0,
            front: Some(ext4::Front::default()),
            parked: BTreeMap::new(),
            taken: 0,
            waiting: 0,
            failed: None,
            landed: vec![Vec::new(); closure.members.len()],
        };
        Self {
            stores: &closure.stores,
            members: &closure.members,
            room,
            start,
            patient: workers / 2,
            next: AtomicUsize::new(0),
            stop,
            chain: Mutex::new(chain),
            turn: Condvar::new(),
            spare: Mutex::default(),
        }
    }

    /// What has landed, by member; the first failure in their order, if there was any.
    pub fn finish(self) -> Result<Vec<Vec<Piece>>, MoveError> {
        let chain = self.chain.into_inner().unwrap_or_else(PoisonError::into_inner);
        chain.failed.map_or(Ok(chain.landed), |(_, error)| Err(error))
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes members in their order until there is none left, or one has failed.
    pub fn work(&self, out: &mut Scattered<'_>, done: &AtomicU64) -> Vec<(usize, Node<()>)> {
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
            if size <= LONGEST_PARKED.min(PARKING.saturating_sub(chain.taken)) {
                chain.taken += size;
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
        // That there is no place for a file counts only if it is as long as it claims, which shows at its end.
        let mut too_long = None;
        let tree = store::unpack(store, info, self.room, &mut |part| match part {
            _ if too_long.is_some() => Ok(()),
            Part::File(len) => {
                // cannot fail: an archive with so many files is refused
                match self.places(&mut front, files.next().unwrap_or(u32::MAX), len) {
                    Ok(places) => {
                        pieces.extend_from_slice(&places);
                        placing = Placing::new(places);
                    }
                    Err(error) => too_long = Some(error),
                }
                Ok(())
            }
            Part::Bytes(bytes) => placing.put(bytes, out),
        })?;
        if let Some(error) = too_long {
            return Err(error);
        }
        out.flush()?;
        let mut chain = self.chain();
        chain.front = Some(front);
        chain.next = at + 1;
        chain.landed[at] = pieces;
        drop(chain);
        self.advance(out)?;
        Ok(tree)
    }

    /// Keeps all files in memory until their turn, or none where they take more there than their NAR promised: files that are
    /// shorter than a block do.
    fn keep(
        &self,
        at: usize,
        (store, info): (&dyn Store, &PathInfo),
        out: &mut Scattered<'_>,
    ) -> Result<Node<()>, MoveError> {
        let mut lens = Vec::new();
        let (mut kept, mut last) = (Some(Kept::default()), 0);
        let tree = store::unpack(store, info, self.room, &mut |part| {
            if let Part::File(len) = part {
                lens.push(len);
            }
            let Some(bytes) = &mut kept else { return Ok(()) };
            match part {
                Part::File(len) => {
                    bytes.pad(padding(last), &self.spare);
                    last = len;
                }
                Part::Bytes(more) => bytes.push(more, &self.spare),
            }
            if bytes.held() > LARGEST_PARKED {
                std::mem::take(bytes).release(&self.spare);
                kept = None;
            }
            Ok::<(), MoveError>(())
        })?;
        let size = kept.as_mut().map_or(0, |bytes| {
            bytes.pad(padding(last), &self.spare);
            bytes.held()
        });
        self.chain().give(info.nar_size, size);
        let parked = match kept {
            Some(bytes) => Parked::Whole { bytes, lens, size },
            None => Parked::Sizes(lens),
        };
        self.park(at, parked, out)?;
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
                for chunk in bytes.chunks() {
                    placing.put(chunk, out)?;
                }
                out.flush()?;
                bytes.release(&self.spare);
                self.chain().give(size, 0);
                self.turn.notify_all();
            }
        }
    }
}

/// The lengths of the files of a tree, in the order of a NAR.
fn lengths(tree: &Node<()>) -> Vec<u64> {
    let len = |node: &Node<()>| if let Kind::File { len, .. } = node.kind { Some(len) } else { None };
    tree.walk().filter_map(|(_, node)| len(node)).collect()
}
