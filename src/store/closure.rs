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
    let mut found: BTreeMap<StorePath, Member> = BTreeMap::new();
    let mut referrers: BTreeMap<StorePath, Option<StorePath>> =
        roots.iter().map(|root| (root.clone(), None)).collect();
    // All paths of a level at once: a store that is far away answers them in one journey.
    let mut level: Vec<StorePath> = roots.to_vec();
    while !level.is_empty() {
        let members = first(stores, &level)?;
        let mut next = Vec::new();
        for (path, member) in level.iter().zip(members) {
            let member =
                member.ok_or_else(|| missing(stores, path, referrers.get(path).and_then(Option::as_ref)))?;
            for reference in &member.info.references {
                if !referrers.contains_key(reference) {
                    referrers.insert(reference.clone(), Some(path.clone()));
                    next.push(reference.clone());
                }
            }
            found.insert(path.clone(), member);
        }
        level = next;
    }
    Ok(Closure { paths: found.into_values().collect() })
}

/// Each path from the first store that has it.
fn first(stores: &[Box<dyn Store>], paths: &[StorePath]) -> Result<Vec<Option<Member>>, Error> {
    let mut members: Vec<Option<Member>> = paths.iter().map(|_| None).collect();
    for (store, at) in stores.iter().zip(0..) {
        let left: Vec<usize> = (0..paths.len()).filter(|index| members[*index].is_none()).collect();
        if left.is_empty() {
            break;
        }
        let asked: Vec<StorePath> = left.iter().map(|index| paths[*index].clone()).collect();
        for (index, info) in left.iter().zip(store.path_infos(&asked)?) {
            members[*index] = info.map(|info| Member { info, store: at });
        }
    }
    Ok(members)
}

fn missing(stores: &[Box<dyn Store>], path: &StorePath, referrer: Option<&StorePath>) -> Error {
    let names: Vec<_> = stores.iter().map(|store| store.name()).collect();
    let referrer = referrer.map(|path| format!("; {path} refers to it")).unwrap_or_default();
    Error::Missing { path: path.to_string(), stores: names.join(", "), referrer }
}
