//! Firmware that is not part of a NixOS system: found by the files in it.

use super::channel;
use super::channel::Search;
use crate::base_n;
use crate::board::{Board, FileRule, Package, matches};
use crate::compose::closure::{Forest, Origin, Packed};
use crate::compose::content::Content;
use crate::compose::error::Error;
use crate::compose::firmware::package::Place;
use crate::compose::firmware::package::Places;
use crate::compose::firmware::package::directory_of;
use crate::compose::firmware::package::known_or_new;
use crate::compose::firmware::package::missing;
use crate::compose::firmware::package::names;
use crate::compose::firmware::package::rank;
use crate::compose::missing::Missing;
use crate::compose::request::channels::{Channels, Pin};
use crate::compose::request::given::Given;
use crate::format::nix::store_path::StorePath;
use crate::ints;
use crate::store;
use crate::store::PathInfo;
use crate::tree::{Directory, Kind, Node};
use std::path::{Path, PathBuf};

/// Finds each package of a board: in what was given, then in the closure, then in the channel, or without one in the
/// stores. What came from a channel is pinned.
pub fn find(
    board: &Board,
    given: &[Given],
    channels: Option<&Channels>,
    forest: &mut Forest,
) -> Result<(Places, Vec<Pin>), Error> {
    let mut places = Places::new();
    // First all that is here, so that what a store path was given for does not depend on what a channel adds.
    for package in &board.packages {
        let mut place = None;
        for given in given {
            place = place.or(in_given(board, package, given, forest)?);
        }
        if place.is_none() {
            place = in_closure(board, package, forest)?;
        }
        places.extend(place.map(|place| (package.key.clone(), place)));
    }
    let mut search = channels.map(|channels| Search::new(board, channels));
    for package in &board.packages {
        if places.contains_key(&package.key) {
            continue;
        }
        let place = match &mut search {
            Some(search) => search.find(package, forest)?,
            None => in_stores(board, package, forest)?,
        };
        if place.is_none() && !package.optional {
            return Err(missing(board, package, format!("not found in {}", looked(given, forest))));
        }
        places.extend(place.map(|place| (package.key.clone(), place)));
    }
    Ok((places, search.map(|search| search.pins).unwrap_or_default()))
}

/// Where a package was looked for.
fn looked(given: &[Given], forest: &Forest) -> String {
    let given = given.iter().map(|given| match given {
        Given::Directory(path) => path.display().to_string(),
        Given::Path(path) => path.to_string(),
    });
    let stores = forest.stores.iter().map(|store| store.name());
    given.chain(["the closure".to_owned()]).chain(stores).collect::<Vec<_>>().join(", ")
}

fn in_given(
    board: &Board,
    package: &Package,
    given: &Given,
    forest: &mut Forest,
) -> Result<Option<Place>, Error> {
    match given {
        Given::Directory(path) => in_directory(board, package, path, forest),
        Given::Path(path) => channel::named(path, package, forest),
    }
}

/// The best of several candidates; two equally good ones are an error.
fn best<T>(board: &Board, package: &Package, mut found: Vec<(usize, String, T)>) -> Result<Option<T>, Error> {
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let Some(first) = found.first().map(|(rank, ..)| *rank) else { return Ok(None) };
    let equal: Vec<_> =
        found.iter().filter(|(rank, ..)| *rank == first).map(|(_, name, _)| name.clone()).collect();
    if equal.len() > 1 {
        let why = format!("{} would do; name the right one with --firmware", equal.join(" and "));
        return Err(missing(board, package, why));
    }
    Ok(found.into_iter().next().map(|(.., candidate)| candidate))
}

fn in_closure(board: &Board, package: &Package, forest: &Forest) -> Result<Option<Place>, Error> {
    let mut found = Vec::new();
    for (source, packed) in (0u32..).zip(&forest.sources) {
        let Some(rank) = rank(package, packed.info.path.name()) else { continue };
        if let Some(directory) = directory_of(package, forest.tree(source)) {
            found.push((rank, packed.info.path.to_string(), Place { source, directory }));
        }
    }
    best(board, package, found)
}

fn in_stores(board: &Board, package: &Package, forest: &mut Forest) -> Result<Option<Place>, Error> {
    for at in 0..forest.stores.len() {
        let mut found = Vec::new();
        for path in forest.stores[at].names()? {
            let Some(rank) = rank(package, path.name()) else { continue };
            let Some(info) = forest.stores[at].path_info(&path)? else { continue };
            let tree = store::index(&*forest.stores[at], &info, &forest.room)?;
            if let Some(directory) = directory_of(package, &tree) {
                found.push((rank, path.to_string(), (info, tree, directory)));
            }
        }
        if let Some((info, tree, directory)) = best(board, package, found)? {
            let source = known_or_new(forest, Packed { info, origin: Origin::Store(at) }, tree)?;
            return Ok(Some(Place { source, directory }));
        }
    }
    Ok(None)
}

/// Looks at a directory that the user named: a package, or a directory of packages such as the root of a store.
fn in_directory(
    board: &Board,
    package: &Package,
    path: &Path,
    forest: &mut Forest,
) -> Result<Option<Place>, Error> {
    let mut found = Vec::new();
    let read = |source| Error::Read { path: path.display().to_string(), source };
    let path = &path.canonicalize().map_err(read)?;
    for candidate in candidates(path)? {
        let name = candidate.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // A package is known by its name where it has that of a store path: many have a u-boot.bin.
        let rank = match StorePath::from_base_name(&name) {
            Ok(store_path) => rank(package, store_path.name()),
            Err(_) if candidate == *path => Some(0),
            Err(_) => rank(package, &name),
        };
        let Some(rank) = rank else { continue };
        let tree = store::directory_listing(&candidate)?;
        if let Some(directory) = directory_of(package, &tree) {
            found.push((rank, candidate.display().to_string(), (candidate, tree, directory)));
        }
    }
    let Some((candidate, tree, directory)) = best(board, package, found)? else { return Ok(None) };
    let info = describe(&candidate)?;
    let source = known_or_new(forest, Packed { info, origin: Origin::Directory(candidate) }, tree)?;
    Ok(Some(Place { source, directory }))
}

fn candidates(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = |source| Error::Read { path: path.display().to_string(), source };
    let store = path.join("nix/store");
    let parent = if store.is_dir() { store } else { path.to_owned() };
    let mut candidates = vec![path.to_owned()];
    for entry in std::fs::read_dir(&parent).map_err(read)? {
        let child = entry.map_err(read)?.path();
        if child.is_dir() {
            candidates.push(child);
        }
    }
    candidates.sort();
    Ok(candidates)
}

/// What a store would know of a directory: its NAR is hashed once, and must still be the same when it is copied.
fn describe(path: &Path) -> Result<PathInfo, Error> {
    let (nar_hash, nar_size) = store::hash_directory(path)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let path = StorePath::from_base_name(&name).or_else(|_| {
        let plain: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(100).collect();
        let hash = base_n::to_base32(&nar_hash[..20]);
        StorePath::from_base_name(&format!("{hash}-firmware-{plain}"))
    });
    // cannot fail: 32 digits of base 32, a dash, letters, digits and dashes
    let path = path.expect("a name made of allowed characters");
    let (references, deriver, signatures, content_address) = (Vec::new(), None, Vec::new(), None);
    Ok(PathInfo { path, nar_hash, nar_size, references, deriver, signatures, content_address })
}

/// One file for the first FAT: its path there and what it is.
pub type Copy<'a> = (String, &'a Node<Content>);

/// The files that a board's rules name, with their paths on the first FAT.
pub fn files<'a>(
    board: &Board,
    places: &Places,
    device_trees: Option<&'a Node<Content>>,
    forest: &'a Forest,
) -> Result<Vec<Copy<'a>>, Error> {
    let mut copies = Vec::new();
    for rule in &board.files {
        let package = places.get(&rule.package).and_then(|place| {
            let tree = forest.tree(place.source);
            tree.at(names(&place.directory)).map(|node| (place, node))
        });
        let mut found = package.map(|(_, node)| matching(node, &rule.from)).unwrap_or_default();
        if found.is_empty() {
            found = device_trees.map(|node| matching(node, &rule.or_device_trees)).unwrap_or_default();
        }
        if found.is_empty() && rule.required {
            return Err(nothing_matches(board, rule, places, forest));
        }
        copies.extend(found.into_iter().map(|(path, node)| (destination(rule, &path), node)));
    }
    Ok(copies)
}

fn nothing_matches(board: &Board, rule: &FileRule, places: &Places, forest: &Forest) -> Error {
    let package = board.packages.iter().find(|package| package.key == rule.package);
    let place = places
        .get(&rule.package)
        .map(|place| forest.sources[ints::to_usize(u64::from(place.source))].info.path.to_string());
    Missing {
        board: board.name.clone(),
        package: rule.package.clone(),
        needs: rule.from.clone(),
        why: format!("{} has none of these", place.unwrap_or_default()),
        command: package.map(|package| package.command.clone()).unwrap_or_default(),
    }
    .into()
}

fn destination(rule: &FileRule, path: &str) -> String {
    let base = path.rsplit('/').next().unwrap_or(path);
    if rule.to.ends_with('/') { format!("{}{base}", rule.to) } else { rule.to.clone() }
}

/// All regular files below a directory whose path matches one of the patterns, in walking order.
fn matching<'a>(node: &'a Node<Content>, patterns: &[String]) -> Vec<(String, &'a Node<Content>)> {
    let mut found = Vec::new();
    let mut open: Vec<(String, &Directory<Content>)> = Vec::new();
    if let Kind::Directory(directory) = &node.kind {
        open.push((String::new(), directory));
    }
    while let Some((prefix, directory)) = open.pop() {
        for (name, child) in directory.iter() {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            let path = format!("{prefix}{name}");
            match &child.kind {
                Kind::Directory(inner) => open.push((format!("{path}/"), inner)),
                Kind::File { .. } if patterns.iter().any(|p| matches(p.as_bytes(), path.as_bytes())) => {
                    found.push((path, child))
                }
                Kind::File { .. } | Kind::Symlink(_) => {}
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}
