//! The closure of a path: it and everything it refers to, over several stores.

use super::{Error, PathInfo, Store};
use crate::format::store_path::StorePath;
use std::collections::BTreeMap;

/// One path of a closure.
#[derive(Clone, Debug)]
pub struct Member {
    /// What is known of it.
    pub info: PathInfo,
    /// The index of the store that has it.
    pub store: usize,
}

/// All paths of a closure, sorted.
#[derive(Clone, Debug)]
pub struct Closure {
    /// Sorted by path.
    pub paths: Vec<Member>,
}

/// Walks the references from `roots`. Each path comes from the first store that has it.
pub fn closure(stores: &[Box<dyn Store>], roots: &[StorePath]) -> Result<Closure, Error> {
    let mut found: BTreeMap<StorePath, Option<Member>> =
        roots.iter().map(|root| (root.clone(), None)).collect();
    let mut queue: Vec<(StorePath, Option<StorePath>)> =
        roots.iter().map(|root| (root.clone(), None)).collect();
    while let Some((path, referrer)) = queue.pop() {
        let member = first(stores, &path)?.ok_or_else(|| missing(stores, &path, referrer.as_ref()))?;
        for reference in &member.info.references {
            // Queued once, or paths that all refer to each other would be queued as often as there are pairs.
            if !found.contains_key(reference) {
                found.insert(reference.clone(), None);
                queue.push((reference.clone(), Some(path.clone())));
            }
        }
        found.insert(path, Some(member));
    }
    Ok(Closure { paths: found.into_values().flatten().collect() })
}

fn first(stores: &[Box<dyn Store>], path: &StorePath) -> Result<Option<Member>, Error> {
    for (store, at) in stores.iter().zip(0..) {
        if let Some(info) = store.path_info(path)? {
            return Ok(Some(Member { info, store: at }));
        }
    }
    Ok(None)
}

fn missing(stores: &[Box<dyn Store>], path: &StorePath, referrer: Option<&StorePath>) -> Error {
    let names: Vec<_> = stores.iter().map(|store| store.name()).collect();
    let referrer = referrer.map(|path| format!("; {path} refers to it")).unwrap_or_default();
    Error::Missing { path: path.to_string(), stores: names.join(", "), referrer }
}
