//! Firmware out of a channel: found once by name among all that was built for it, then pinned.

use super::package::{Place, directory_of, known_or_new, missing, rank};
use crate::board::{Board, Package};
use crate::compose::closure::{Forest, Origin, Packed};
use crate::compose::error::Error;
use crate::compose::request::channels::Channels;
use crate::compose::request::channels::Pin;
use crate::format::nix::nar_hash;
use crate::format::nix::store_path::StorePath;
use crate::store;
use crate::store::PathInfo;
use crate::store::channel::{Channel, Listing};
use crate::tree::Node;
use std::collections::BTreeMap;

/// A channel in use for one board.
pub struct Search<'a> {
    board: &'a Board,
    channels: &'a Channels,
    listing: Option<(Listing, String)>,
    /// The pins of the board that were used or made.
    pub pins: Vec<Pin>,
}

/// A store path that may be a package, and the store that has it.
struct Candidate {
    info: PathInfo,
    store: usize,
}

impl<'a> Search<'a> {
    /// Begins a search; the listing is fetched only when something is not pinned.
    pub const fn new(board: &'a Board, channels: &'a Channels) -> Self {
        Self { board, channels, listing: None, pins: Vec::new() }
    }

    /// Finds a package as it was pinned, else in the listing.
    pub fn find(&mut self, package: &Package, forest: &mut Forest) -> Result<Option<Place>, Error> {
        let is_pin = |pin: &&Pin| pin.board == self.board.name && pin.package == package.key;
        if let Some(pin) = self.channels.pins.iter().find(is_pin).cloned() {
            let place = pinned(&pin, package, self.board, forest, &self.channels.channel)?;
            self.pins.push(pin);
            return Ok(place);
        }
        self.listed(package, forest)
    }

    /// The listing, with the address of its cache, which becomes the last of the stores.
    fn listing(&mut self, forest: &mut Forest) -> Result<(Listing, String), Error> {
        if let Some(listing) = &self.listing {
            return Ok(listing.clone());
        }
        let wanted = |name: &str| self.board.packages.iter().any(|package| rank(package, name).is_some());
        let channel = &self.channels.channel;
        let listing = (channel.listing(&wanted)?, channel.cache()?);
        ask_too(forest, &listing.1, channel)?;
        self.listing = Some(listing.clone());
        Ok(listing)
    }

    fn listed(&mut self, package: &Package, forest: &mut Forest) -> Result<Option<Place>, Error> {
        let (listing, cache) = self.listing(forest)?;
        let mut by_rank: BTreeMap<usize, Vec<&StorePath>> = BTreeMap::new();
        for path in &listing.paths {
            if let Some(rank) = rank(package, path.name()) {
                by_rank.entry(rank).or_default().push(path);
            }
        }
        let mut found = None;
        for paths in by_rank.values() {
            found = best(package, self.board, paths, forest)?;
            if found.is_some() {
                break;
            }
        }
        let pin = |found| Pin {
            board: self.board.name.clone(),
            package: package.key.clone(),
            found,
            channel: self.channels.channel.address().to_owned(),
            listing: listing.sha256,
            cache,
        };
        let Some((info, place)) = found else {
            if package.optional {
                self.pins.push(pin(None));
                return Ok(None);
            }
            return Err(self.absent(package, &by_rank));
        };
        self.pins.push(pin(Some((info.path, info.nar_hash))));
        Ok(Some(place))
    }

    fn absent(&self, package: &Package, by_rank: &BTreeMap<usize, Vec<&StorePath>>) -> Error {
        let channel = self.channels.channel.address();
        let names: Vec<_> = by_rank.values().flatten().take(5).map(ToString::to_string).collect();
        let why = if names.is_empty() {
            format!("nothing in the channel {channel} is called {}", package.names.join(" or "))
        } else {
            format!("the channel {channel} has {}, without these files", names.join(", "))
        };
        missing(self.board, package, why)
    }
}

/// The one of several paths that has the files; the same contents under two names are one.
fn best(
    package: &Package,
    board: &Board,
    paths: &[&StorePath],
    forest: &mut Forest,
) -> Result<Option<(PathInfo, Place)>, Error> {
    let mut found: BTreeMap<[u8; 32], (Candidate, Node<()>, String)> = BTreeMap::new();
    for path in paths {
        let candidate = anywhere(path, forest)?;
        if found.contains_key(&candidate.info.nar_hash) {
            continue;
        }
        let tree = index(&candidate, forest)?;
        if let Some(directory) = directory_of(package, &tree) {
            found.insert(candidate.info.nar_hash, (candidate, tree, directory));
        }
    }
    if found.len() > 1 {
        let mut names: Vec<_> =
            found.values().map(|(candidate, ..)| candidate.info.path.to_string()).collect();
        names.sort();
        let why = format!("{} would do; name the right one with --firmware", names.join(" and "));
        return Err(missing(board, package, why));
    }
    let Some((candidate, tree, directory)) = found.into_values().next() else { return Ok(None) };
    let info = candidate.info.clone();
    let source = take(candidate, tree, forest)?;
    Ok(Some((info, Place { source, directory })))
}

/// A package whose path was pinned; its contents must be those of then.
fn pinned(
    pin: &Pin,
    package: &Package,
    board: &Board,
    forest: &mut Forest,
    channel: &Channel,
) -> Result<Option<Place>, Error> {
    let Some((path, hash)) = &pin.found else { return Ok(None) };
    ask_too(forest, &pin.cache, channel)?;
    let candidate = anywhere(path, forest)?;
    if candidate.info.nar_hash != *hash {
        let (expected, found) = (nar_hash::show(hash), nar_hash::show(&candidate.info.nar_hash));
        let what = "the NarHash, pinned in the lock file,";
        return Err(store::Error::Mismatch { path: path.to_string(), what, expected, found }.into());
    }
    place(candidate, package, board, forest).map(Some)
}

/// A store path that the user named, if it is such a package.
pub fn named(path: &StorePath, package: &Package, forest: &mut Forest) -> Result<Option<Place>, Error> {
    if rank(package, path.name()).is_none() {
        return Ok(None);
    }
    let candidate = anywhere(path, forest)?;
    let tree = index(&candidate, forest)?;
    let Some(directory) = directory_of(package, &tree) else { return Ok(None) };
    Ok(Some(Place { source: take(candidate, tree, forest)?, directory }))
}

fn place(
    candidate: Candidate,
    package: &Package,
    board: &Board,
    forest: &mut Forest,
) -> Result<Place, Error> {
    let tree = index(&candidate, forest)?;
    let Some(directory) = directory_of(package, &tree) else {
        return Err(missing(board, package, format!("{} has none of these", candidate.info.path)));
    };
    Ok(Place { source: take(candidate, tree, forest)?, directory })
}

/// The first store that has a path.
fn anywhere(path: &StorePath, forest: &Forest) -> Result<Candidate, Error> {
    for (store, at) in forest.stores.iter().zip(0..) {
        if let Some(info) = store.path_info(path)? {
            return Ok(Candidate { info, store: at });
        }
    }
    let names: Vec<_> = forest.stores.iter().map(|store| store.name()).collect();
    let (path, stores, referrer) = (path.to_string(), names.join(", "), String::new());
    Err(store::Error::Missing { path, stores, referrer }.into())
}

fn index(candidate: &Candidate, forest: &Forest) -> Result<Node<()>, Error> {
    let store = &*forest.stores[candidate.store];
    store.prefetch(std::slice::from_ref(&candidate.info.path))?;
    Ok(store::index(store, &candidate.info, &forest.room)?)
}

fn take(candidate: Candidate, tree: Node<()>, forest: &mut Forest) -> Result<u32, Error> {
    known_or_new(forest, Packed { info: candidate.info, origin: Origin::Store(candidate.store) }, tree)
}

/// Makes the channel's cache the last of the stores, unless it is one of them.
fn ask_too(forest: &mut Forest, cache: &str, channel: &Channel) -> Result<(), Error> {
    if !forest.stores.iter().any(|store| store.name() == cache) {
        forest.stores.push(store::open(cache, None, channel.remote())?);
    }
    Ok(())
}
