//! What stores that are far away share: connections, the directory of what was fetched, how far it has come.

use super::daemon::Ssh;
use super::http::locked;
use super::trust::Keys;
use crate::format::store_path::StorePath;
use crate::net::Client;
use std::collections::BTreeSet;
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
    /// Store paths on their way.
    busy: Mutex<BTreeSet<String>>,
}

impl Fetched {
    pub(super) fn begin(&self, path: &StorePath) {
        locked(&self.busy).insert(path.to_string());
    }

    pub(super) fn end(&self, path: &StorePath) {
        locked(&self.busy).remove(&path.to_string());
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Store paths on their way now.
    #[must_use]
    pub fn busy(&self) -> BTreeSet<String> {
        locked(&self.busy).clone()
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
