//! A closure whose paths are known, and what is in them not yet.

use super::closure::Forest;
use super::closure::Origin;
use super::closure::Packed;
use super::error::Error;
use crate::format::nix::nar::Room;
use crate::format::nix::store_path::StorePath;
use crate::store;
use crate::store::Member;
use crate::store::Store;
use crate::tree::Node;
use crate::workers;

/// The trees of all members, in their order; several threads where NARs have to be decoded for them.
pub(crate) fn indices(
    stores: &[Box<dyn Store>],
    members: &[Member],
    room: &Room,
) -> Result<Vec<Node<()>>, Error> {
    let packed = members.iter().any(|member| stores[member.store].is_packed());
    let threads = if packed { workers::cores() } else { 1 };
    Ok(workers::try_map(members, threads, |member| store::index(&*stores[member.store], &member.info, room))?)
}

/// A closure whose paths are known, and what is in them not yet.
pub struct Resolved {
    /// The stores.
    pub stores: Vec<Box<dyn Store>>,
    /// Its paths, sorted.
    pub members: Vec<Member>,
    /// What the user should know of the stores.
    pub notes: Vec<String>,
}

impl Resolved {
    /// Walks from several paths, and has begun to fetch what is far away.
    pub fn of(stores: Vec<Box<dyn Store>>, roots: &[StorePath]) -> Result<Self, Error> {
        let mut members = store::closure(&stores, roots)?.paths;
        for (at, store) in stores.iter().enumerate() {
            let mine = members.iter().filter(|member| member.store == at);
            store.prefetch(&mine.map(|member| member.info.path.clone()).collect::<Vec<_>>())?;
        }
        let notes = store::replace_damaged(&stores, &mut members)?;
        Ok(Self { stores, members, notes })
    }

    /// Whether contents have to be decoded for anything to be known of them.
    pub fn is_packed(&self) -> bool {
        self.members.iter().any(|member| self.stores[member.store].is_packed())
    }

    /// Looks through all paths.
    pub fn index(self) -> Result<Forest, Error> {
        let room = Room::default();
        let trees = indices(&self.stores, &self.members, &room)?;
        self.with_trees(trees, room)
    }

    /// The closure with the tree of each of its paths, in their order.
    pub(crate) fn with_trees(self, trees: Vec<Node<()>>, room: Room) -> Result<Forest, Error> {
        let mut forest = Forest::empty(self.stores);
        forest.room = room;
        forest.notes = self.notes;
        for (member, tree) in self.members.into_iter().zip(trees) {
            forest.add(Packed { info: member.info, origin: Origin::Store(member.store) }, tree)?;
        }
        Ok(forest)
    }
}
