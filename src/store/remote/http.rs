//! A binary cache over http: narinfos, listings and NARs are fetched once and kept in a directory of this machine.

use super::cache::{CONNECTIONS, Shared};
use super::download_dir::{Kept, keep, remove};
use super::fetch_order;
use super::listed::Listings;
use super::orders::Orders;
use super::progress::Remote;
use crate::base_n::to_base16;
use crate::format::nix::narinfo::NarInfo;
use crate::format::nix::store_path::StorePath;
use crate::net;
use crate::store::archive::cache_dir::{check_store_dir, open_packed};
use crate::store::error::Error;
use crate::store::interface::{PathInfo, Store};
use crate::store::trust::keys::facts;
use crate::tree::Node;
use crate::workers;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// A cache behind an address.
pub struct Http {
    shared: Arc<Shared>,
}

impl Http {
    /// Opens a cache, which must have a `nix-cache-info`.
    pub fn open(address: &str, remote: &Remote) -> Result<Self, Error> {
        let address = address.trim_end_matches('/').to_owned();
        let server = to_base16(&Sha256::digest(net::shown(&address)))[..16].to_owned();
        let kept = Kept::open(&remote.kept, remote.most)?;
        let narinfos = kept.file("narinfo", &server);
        std::fs::create_dir_all(&narinfos).map_err(|source| Error::io(&narinfos, source))?;
        let shared = Shared {
            address,
            remote: remote.clone(),
            kept,
            server,
            known: Mutex::default(),
            orders: Orders::default(),
            listings: Listings::default(),
        };
        let info = shared.at("nix-cache-info");
        let text = shared.small(&info)?.ok_or_else(|| Error::NoStore {
            place: net::shown(&shared.address),
            message: match shared.remote.client.proxy_of(&info) {
                Some(proxy) => format!("it has no nix-cache-info, asked through the proxy {proxy}"),
                None => "it has no nix-cache-info".to_owned(),
            },
        })?;
        check_store_dir(Path::new(&net::shown(&info)), &text)?;
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.shared.orders.stop();
    }
}

impl Store for Http {
    fn name(&self) -> String {
        self.shared.name()
    }

    fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, Error> {
        Ok(self.shared.narinfo(path)?.map(facts))
    }

    fn path_infos(&self, paths: &[StorePath]) -> Result<Vec<Option<PathInfo>>, Error> {
        workers::try_map(paths, CONNECTIONS, |path| self.path_info(path))
    }

    /// NARs are on their way when this returns, no more.
    fn prefetch(&self, paths: &[StorePath]) -> Result<(), Error> {
        let infos: Result<Vec<NarInfo>, Error> = paths.iter().map(|path| self.shared.needed(path)).collect();
        let infos = infos?;
        self.shared.prepare(&infos)?;
        let unlisted = self.shared.unlisted(&infos);
        fetch_order::order(&self.shared, paths.iter().cloned());
        self.shared.list(&unlisted);
        Ok(())
    }

    fn open_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, Error> {
        let file = self.shared.ready(path)?;
        // The hash of its contents is checked on their way.
        open_packed(&file, &self.shared.needed(path)?)
    }

    fn listing(&self, path: &StorePath) -> Result<Option<Node<()>>, Error> {
        Ok(self.shared.listings.take(path))
    }

    fn is_packed(&self) -> bool {
        true
    }

    /// A server cannot be asked what it has.
    fn names(&self) -> Result<Vec<StorePath>, Error> {
        Ok(Vec::new())
    }

    fn confirm(&self, path: &StorePath, listing: &dyn Fn() -> Option<String>) {
        let Ok(info) = self.shared.needed(path) else { return };
        let file = self.shared.listing_file(&info);
        if file.exists() {
            return;
        }
        if let Some(text) = listing() {
            // A listing that cannot be kept costs the next run time, and nothing else.
            drop(keep(&file, |out| {
                out.write_all(text.as_bytes()).map_err(|source| Error::io(&file, source))
            }));
        }
    }

    fn refute(&self, path: &StorePath) -> Result<(), Error> {
        let info = self.shared.needed(path)?;
        self.shared.forget(path)?;
        remove(&self.shared.listing_file(&info))?;
        // Nothing that is not signed is believed of the others either: where they are, how they are packed.
        let narinfos = self.shared.kept.file("narinfo", &self.shared.server);
        for entry in std::fs::read_dir(&narinfos).map_err(|source| Error::io(&narinfos, source))?.flatten() {
            remove(&entry.path())?;
        }
        Ok(())
    }
}

impl Shared {
    /// Counts what has to be fetched, and makes room for it.
    fn prepare(&self, infos: &[NarInfo]) -> Result<(), Error> {
        let mut in_use = BTreeSet::new();
        let (mut bytes, mut paths) = (0_u64, 0);
        for info in infos {
            let file = self.nar_file(info);
            let len = std::fs::metadata(&file).map(|metadata| metadata.len());
            if len.is_err() {
                bytes = bytes.saturating_add(info.file_size.unwrap_or(info.nar_size));
                paths += 1;
            }
            in_use.extend([file, self.listing_file(info), self.narinfo_file(&info.path)]);
        }
        let fetched = &self.remote.fetched;
        fetched.paths.fetch_add(paths, Ordering::Relaxed);
        // Last: who sees it sees the number of paths.
        fetched.total.fetch_add(bytes, Ordering::Release);
        self.kept.make_room(bytes, &in_use)
    }
}
