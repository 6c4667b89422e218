//! The closure of a path: it and everything it refers to, over several stores.

use super::error::Error;
use super::interface::{PathInfo, Store};
use crate::format::nix::store_path::StorePath;
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
    let closure = Closure { paths: found.into_values().collect() };
    match closure.cycle() {
        None => Ok(closure),
        Some(cycle) => {
            let names: Vec<String> = cycle.iter().map(ToString::to_string).collect();
            Err(Error::Cycle { cycle: names.join(" -> ") })
        }
    }
}

impl Closure {
    /// Paths that refer to each other in a circle, the first one again at the end, which no store has. That a path
    /// refers to itself is usual.
    fn cycle(&self) -> Option<Vec<StorePath>> {
        let index = |path: &StorePath| self.paths.binary_search_by(|member| member.info.path.cmp(path)).ok();
        let references = |at: usize| {
            let all = self.paths[at].info.references.iter().filter_map(index);
            all.filter(move |other| *other != at)
        };
        let mut referrers: Vec<Vec<usize>> = vec![Vec::new(); self.paths.len()];
        let mut left: Vec<usize> = Vec::new();
        for at in 0..self.paths.len() {
            references(at).for_each(|other| referrers[other].push(at));
            left.push(references(at).count());
        }
        let mut free: Vec<usize> = (0..left.len()).filter(|at| left[*at] == 0).collect();
        while let Some(at) = free.pop() {
            for referrer in &referrers[at] {
                left[*referrer] -= 1;
                if left[*referrer] == 0 {
                    free.push(*referrer);
                }
            }
        }
        // Whoever is left refers to somebody who is left: following that must lead back.
        let mut at = (0..left.len()).find(|at| left[*at] > 0)?;
        let mut walk: Vec<usize> = Vec::new();
        while !walk.contains(&at) {
            walk.push(at);
            at = references(at).find(|other| left[*other] > 0)?;
        }
        let from = walk.iter().position(|other| *other == at)?;
        let circle = walk[from..].iter().chain([&at]);
        Some(circle.map(|at| self.paths[*at].info.path.clone()).collect())
    }
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
        let infos = match store.path_infos(&asked) {
            Ok(infos) => infos,
            // The last one that could be asked: its failure is that of all.
            Err(error) if at + 1 == stores.len() => return Err(error),
            Err(_) => one_by_one(&**store, &asked),
        };
        for (index, info) in left.iter().zip(infos) {
            members[*index] = info.map(|info| Member { info, store: at });
        }
    }
    Ok(members)
}

/// How many questions a store may fail to answer one after the other before it is asked no more.
const FAILURES: usize = 3;

/// What a store that fails for some paths knows of each; what it fails for, the next one is asked.
fn one_by_one(store: &dyn Store, paths: &[StorePath]) -> Vec<Option<PathInfo>> {
    let mut failures = 0;
    let mut ask = |path: &StorePath| {
        if failures >= FAILURES {
            return None;
        }
        let answer = store.path_info(path);
        failures = if answer.is_err() { failures + 1 } else { 0 };
        answer.ok().flatten()
    };
    paths.iter().map(&mut ask).collect()
}

fn missing(stores: &[Box<dyn Store>], path: &StorePath, referrer: Option<&StorePath>) -> Error {
    let names: Vec<_> = stores.iter().map(|store| store.name()).collect();
    let referrer = referrer.map(|path| format!("; {path} refers to it")).unwrap_or_default();
    Error::Missing { path: path.to_string(), stores: names.join(", "), referrer }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> StorePath {
        StorePath::from_base_name(&format!("3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-{name}")).unwrap()
    }

    fn closure_of(paths: &[(&str, &[&str])]) -> Closure {
        let member = |(name, references): &(&str, &[&str])| Member {
            info: PathInfo {
                path: path(name),
                nar_hash: [0; 32],
                nar_size: 1,
                references: references.iter().map(|name| path(name)).collect(),
                deriver: None,
                signatures: Vec::new(),
                content_address: None,
            },
            store: 0,
        };
        Closure { paths: paths.iter().map(member).collect() }
    }

    #[test]
    fn a_circle_of_references_is_found_and_one_path_alone_is_none() {
        let fine = closure_of(&[("a", &["a", "b", "c"]), ("b", &["c"]), ("c", &["c"])]);
        assert_eq!(fine.cycle(), None);
        let circle =
            closure_of(&[("a", &["b"]), ("b", &["c", "e"]), ("c", &["d"]), ("d", &["b"]), ("e", &[])]);
        let names: Vec<String> = circle.cycle().unwrap().iter().map(|path| path.name().to_owned()).collect();
        assert_eq!(names, ["b", "c", "d", "b"]);
    }
}
