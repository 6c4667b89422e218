//! What stores that are far away share: connections, the directory of what was fetched, how far it has come.

use super::threads::locked;
use crate::format::nix::store_path::StorePath;
use crate::net::Client;
use crate::store::transport::Ssh;
use crate::store::trust::keys::Keys;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// How far fetching has come, for whoever shows it.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Bytes to fetch.
    pub total: AtomicU64,
    /// Bytes that were fetched.
    pub bytes: AtomicU64,
    /// Store paths to fetch.
    pub paths: AtomicUsize,
    /// Store paths that are there.
    pub done: AtomicUsize,
    /// Answers to questions of what there is.
    pub answers: AtomicUsize,
    /// Who was asked and has not answered yet, and how many questions.
    asked: Mutex<BTreeMap<String, usize>>,
    /// Store paths on their way, and who sends them.
    busy: Mutex<BTreeMap<String, String>>,
}

impl Fetched {
    pub(crate) fn begin(&self, path: &StorePath, store: &str) {
        locked(&self.busy).insert(path.to_string(), store.to_owned());
    }

    pub(crate) fn end(&self, path: &StorePath) {
        locked(&self.busy).remove(&path.to_string());
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a question until it is dropped.
    pub(crate) fn ask(&self, store: &str) -> Question<'_> {
        *locked(&self.asked).entry(store.to_owned()).or_default() += 1;
        Question { fetched: self, store: store.to_owned() }
    }

    /// Who is being waited for.
    #[must_use]
    pub fn awaited(&self) -> BTreeSet<String> {
        let mut stores: BTreeSet<String> = locked(&self.asked).keys().cloned().collect();
        stores.extend(locked(&self.busy).values().cloned());
        stores
    }

    /// Store paths on their way now, and who sends them.
    #[must_use]
    pub fn busy(&self) -> BTreeMap<String, String> {
        locked(&self.busy).clone()
    }
}

/// A question on its way.
pub(crate) struct Question<'a> {
    fetched: &'a Fetched,
    store: String,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut asked = locked(&self.fetched.asked);
        if let Some(count) = asked.get_mut(&self.store) {
            *count -= 1;
            if *count == 0 {
                asked.remove(&self.store);
            }
        }
        self.fetched.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all stores that are elsewhere share.
#[derive(Clone)]
pub struct Remote {
    /// Connections.
    pub client: Client,
    /// The directory of what was fetched.
    pub kept: PathBuf,
    /// Bytes that may stay there.
    pub most: u64,
    /// Who is believed; nobody has to be when `None`.
    pub keys: Option<Keys>,
    /// Counts.
    pub fetched: Arc<Fetched>,
    /// Who runs ssh.
    pub ssh: Arc<dyn Ssh>,
}
