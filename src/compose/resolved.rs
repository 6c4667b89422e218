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
use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// The trees of all members, in their order; several threads where NARs have to be decoded for them.
pub(crate) fn indices(
    stores: &[Box<dyn Store>],
    members: &[Member],
    room: &Room,
) -> Result<Vec<Node<()>>, Error> {
    let packed = members.iter().any(|member| stores[member.store].is_packed());
    let threads =
        if packed { std::thread::available_parallelism().map_or(1, std::num::NonZero::get) } else { 1 };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(member) = members.get(next.fetch_add(1, Ordering::Relaxed)) {
            let tree = store::index(&*stores[member.store], &member.info, room);
            let failed = tree.is_err();
            done.push((&member.info.path, tree));
            if failed {
                // Nobody begins another one. The first failure in order is told, whoever met it.
                next.store(members.len(), Ordering::Relaxed);
            }
        }
        done
    };
    let mut trees = BTreeMap::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        trees.extend(work());
        for worker in workers {
            // cannot fail: a worker returns its errors
            trees.extend(worker.join().expect("a worker does not panic"));
        }
    });
    let trees: Result<Vec<_>, _> = trees.into_values().collect();
    Ok(trees?)
}

/// A closure whose paths are known, and what is in them not yet.
pub struct Resolved {
    /// The stores.
    pub stores: Vec<Box<dyn Store>>,
    /// Its paths, sorted.
    pub members: Vec<Member>,
}

impl Resolved {
    /// Walks from several paths, and has begun to fetch what is far away.
    pub fn of(stores: Vec<Box<dyn Store>>, roots: &[StorePath]) -> Result<Self, Error> {
        let members = store::closure(&stores, roots)?.paths;
        for (at, store) in stores.iter().enumerate() {
            let mine = members.iter().filter(|member| member.store == at);
            store.prefetch(&mine.map(|member| member.info.path.clone()).collect::<Vec<_>>())?;
        }
        Ok(Self { stores, members })
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
        for (member, tree) in self.members.into_iter().zip(trees) {
            forest.add(Packed { info: member.info, origin: Origin::Store(member.store) }, tree)?;
        }
        Ok(forest)
    }
}
