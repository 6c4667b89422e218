//! A closure that was found: it can be planned, or planned and written at once.

use super::decide::decide;
use super::error::Error;
use super::plan::image::Plan;
use super::request::composition::Request;
use super::resolved::Resolved;
use super::write::MoveError;
use super::write::in_place;
use super::write::in_place::Landed;
use crate::board::{Board, Role};
use crate::format::nix::nar::Room;
use crate::format::nix::store_path::StorePath;
use crate::image::write::complete_file::RawFile;

/// What is to be composed, and its closure.
pub struct Found {
    request: Request,
    /// The toplevels, the newest last.
    systems: Vec<StorePath>,
    closure: Resolved,
}

impl Found {
    /// Walks the closure.
    pub(super) fn of(mut request: Request) -> Result<Self, Error> {
        request.board = with_boot_size(request.board, request.boot_size);
        let systems = [&request.older[..], std::slice::from_ref(&request.system)].concat();
        let closure = Resolved::of(std::mem::take(&mut request.stores), &systems)?;
        Ok(Self { request, systems, closure })
    }

    /// Whether contents have to be decoded to plan the image, so that to [`Self::land`] saves doing it twice.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.closure.is_packed()
    }

    /// Bytes of all NARs.
    #[must_use]
    pub fn nar_bytes(&self) -> u64 {
        self.closure.members.iter().fold(0, |sum, member| sum.saturating_add(member.info.nar_size))
    }

    /// Decides everything. Reads what names and sizes need, no more.
    pub fn plan(self) -> Result<Plan, Error> {
        let Self { request, systems, closure } = self;
        decide(request, &systems, closure.index()?, &Landed::default())
    }

    /// Decides everything, and puts contents that have to be decoded for that to their place in `out`, which reads as zeros.
    /// What is left is done by [`Plan::write_raw`] on the same file. `progress` is told how many bytes of NARs have been
    /// read, a few times a second, and calls the work off by `false`.
    pub fn land(
        self,
        out: &RawFile,
        workers: usize,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Plan, MoveError> {
        let Self { request, systems, closure } = self;
        let room = Room::default();
        let place = (out, request.board.root().start);
        let (trees, landed) = in_place::land(&closure, place, &room, workers, progress)?;
        let forest = closure.with_trees(trees, room)?;
        Ok(decide(request, &systems, forest, &landed)?)
    }
}

/// Gives the FAT another length and moves what follows.
fn with_boot_size(mut board: Board, boot_size: Option<u64>) -> Board {
    let Some(size) = boot_size else { return board };
    let Some(at) = board.partitions.iter().position(|partition| partition.role != Role::Root) else {
        return board;
    };
    let old = board.partitions[at].size.unwrap_or(0);
    board.partitions[at].size = Some(size);
    for later in &mut board.partitions[at + 1..] {
        later.start = later.start - old + size;
    }
    board
}
