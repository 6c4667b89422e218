//! The next store: what one has damaged, or does not give although it says it has it, is taken from another.
//!
//! An image moves in one pass, in which nothing can be taken back. So where another store could be asked, a NAR of a cache
//! is read and hashed once before anything is decided.

use super::closure::Member;
use super::error::Error;
use super::interface::{PathInfo, Store};
use super::verified_nar::{Verified, verify};
use crate::workers;
use std::convert::Infallible;
use std::io;

/// Reads the NAR of a path to its end; it must be what is known of it.
fn ensure_whole(store: &dyn Store, info: &PathInfo) -> Result<(), Error> {
    let mut nar = Verified::new(store.open_nar(&info.path)?, info);
    io::copy(&mut nar, &mut io::sink())
        .map_err(|source| Error::Io { path: info.path.to_string(), source })?;
    verify(nar, info)
}

/// The same path in a store behind the one that failed: perhaps built again, with the same references.
fn other(stores: &[Box<dyn Store>], member: &Member) -> Option<Member> {
    let mut behind = stores.iter().enumerate().skip(member.store + 1);
    behind.find_map(|(at, store)| {
        let info = store.path_info(&member.info.path).ok().flatten()?;
        let is_same = info.references == member.info.references;
        (is_same && ensure_whole(&**store, &info).is_ok()).then_some(Member { info, store: at })
    })
}

/// Moves members to the next store that has them whole, where theirs has not; gives a word about each.
///
/// # Errors
///
/// What is wrong with a path that no other store has.
pub fn replace_damaged(stores: &[Box<dyn Store>], members: &mut [Member]) -> Result<Vec<String>, Error> {
    let doubtful: Vec<usize> = (0..members.len())
        .filter(|at| members[*at].store + 1 < stores.len() && stores[members[*at].store].is_packed())
        .collect();
    let results = checked(stores, members, &doubtful);
    let mut words = Vec::new();
    for (at, error) in results {
        let member = &mut members[at];
        // It may give what was fetched again, and a server may have been mended by the next run.
        drop(stores[member.store].refute(&member.info.path));
        let Some(next) = other(stores, member) else { return Err(error) };
        let (path, from, of) = (&member.info.path, stores[next.store].name(), stores[member.store].name());
        words.push(format!("{path} is taken from {from}, because {of} fails: {error}"));
        *member = next;
    }
    Ok(words)
}

/// The members that cannot be used, with why, in order.
fn checked(stores: &[Box<dyn Store>], members: &[Member], doubtful: &[usize]) -> Vec<(usize, Error)> {
    let check = |at: &usize| {
        let member = &members[*at];
        let wrong = ensure_whole(&*stores[member.store], &member.info).err();
        Ok::<_, Infallible>(wrong.map(|error| (*at, error)))
    };
    let Ok(found) = workers::try_map(doubtful, workers::cores(), check);
    found.into_iter().flatten().collect()
}
