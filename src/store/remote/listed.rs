//! Trees of store paths that listings have told.

use super::threads::locked;
use crate::format::nix::nar::Room;
use crate::format::nix::store_path::StorePath;
use crate::tree::Node;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Trees of listings that nobody has asked for yet.
#[derive(Default)]
pub(crate) struct Listings {
    trees: Mutex<BTreeMap<StorePath, Node<()>>>,
    pub(super) room: Room,
    pub(super) long: Mutex<()>,
}

impl Listings {
    /// Keeps the tree of a path.
    pub(super) fn put(&self, path: &StorePath, tree: Node<()>) {
        locked(&self.trees).insert(path.clone(), tree);
    }

    /// The tree of a path, once.
    pub(crate) fn take(&self, path: &StorePath) -> Option<Node<()>> {
        locked(&self.trees).remove(path)
    }
}
