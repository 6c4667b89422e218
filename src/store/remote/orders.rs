//! NARs that were ordered of a cache over http, and what became of them.

use crate::format::nix::store_path::StorePath;
use crate::store::error::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What was ordered and what became of it.
#[derive(Default)]
pub(crate) struct Orders {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    pub(super) stop: AtomicBool,
}

/// Where each path that was ordered is on its way.
#[derive(Default)]
pub(super) struct State {
    pub(super) waiting: BTreeSet<StorePath>,
    pub(super) busy: BTreeSet<StorePath>,
    pub(super) ready: BTreeSet<StorePath>,
    pub(super) failed: BTreeMap<StorePath, Error>,
    /// Threads that were started.
    pub(super) threads: usize,
}

impl Orders {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the threads end soon.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.lock().waiting.clear();
    }
}
