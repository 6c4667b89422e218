//! A package of firmware: which it is, and where in the closure it was put.

use crate::board::Board;
use crate::board::Package;
use crate::board::matches;
use crate::compose::closure::Forest;
use crate::compose::closure::Packed;
use crate::compose::error::Error;
use crate::compose::missing::Missing;
use crate::ints;
use crate::tree::Kind;
use crate::tree::Node;
use std::collections::BTreeMap;

/// A package that was found: a directory in a source.
#[derive(Clone, Debug)]
pub struct Place {
    /// The source it is in.
    pub source: u32,
    /// The directory in it, without slashes around.
    pub directory: String,
}

/// The packages of a board, by their key.
pub type Places = BTreeMap<String, Place>;
pub(crate) fn missing(board: &Board, package: &Package, why: String) -> Error {
    let (board, command) = (board.name.clone(), package.command.clone());
    Missing { board, package: package.key.clone(), needs: package.needs.clone(), why, command }.into()
}

/// How well a store path's name suits a package: the index of the first pattern that matches.
pub(crate) fn rank(package: &Package, name: &str) -> Option<usize> {
    package.names.iter().position(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
}

/// The directory of a tree that has all the files a package needs.
pub(crate) fn directory_of<C>(package: &Package, tree: &Node<C>) -> Option<String> {
    let has_all = |directory: &&String| {
        package.needs.iter().all(|file| {
            let path = names(directory).chain(names(file));
            matches!(tree.at(path).map(|node| &node.kind), Some(Kind::File { .. }))
        })
    };
    package.directories.iter().find(has_all).cloned()
}
pub(crate) fn names(path: &str) -> impl Iterator<Item = &[u8]> {
    path.split('/').filter(|name| !name.is_empty()).map(str::as_bytes)
}
pub(crate) fn known_or_new(forest: &mut Forest, packed: Packed, tree: Node<()>) -> Result<u32, Error> {
    match forest.source(&packed.info.path) {
        Some(source)
            if forest.sources[ints::to_usize(u64::from(source))].info.nar_hash == packed.info.nar_hash =>
        {
            Ok(source)
        }
        _ => forest.add(packed, tree),
    }
}
