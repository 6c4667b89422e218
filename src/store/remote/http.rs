//! A binary cache over http: narinfos, listings and NARs are fetched once and kept in a directory of this machine.

use super::download_dir::{Kept, keep, remove, touch};
use super::fetch_order;
use super::fetch_order::Orders;
use super::listings::Listings;
use super::progress::Remote;
use crate::base_n::to_base16;
use crate::format::nix::narinfo::NarInfo;
use crate::format::nix::store_path::StorePath;
use crate::ints;
use crate::net;
use crate::store::archive::cache_dir::{MAX_NARINFO, check_store_dir, open_packed};
use crate::store::error::Error;
use crate::store::interface::{PathInfo, Store};
use crate::store::remote::threads::locked;
use crate::store::trust::keys::with_right_address;
use crate::tree::Node;
use crate::workers;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Connections at a time for what is small and takes a journey.
pub(crate) const CONNECTIONS: usize = 32;

/// A cache behind an address.
pub struct Http {
    shared: Arc<Shared>,
}

/// What the threads that fetch share with who asks.
pub(crate) struct Shared {
    address: String,
    pub(crate) remote: Remote,
    pub(crate) kept: Kept,
    /// The name of this server in the directory.
    server: String,
    /// Narinfos by path, absent ones too, and whether they were kept.
    known: Mutex<BTreeMap<StorePath, Option<(NarInfo, Origin)>>>,
    pub(crate) orders: Orders,
    pub(crate) listings: Listings,
}

/// Where a narinfo is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Kept,
    Fetched,
}

/// A server does not give what is at an address.
pub(crate) fn failed(address: &str, source: net::Error) -> Error {
    Error::Http { address: net::shown(address), source }
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

impl Shared {
    /// The cache in messages.
    pub(crate) fn name(&self) -> String {
        net::shown(&self.address)
    }

    pub(crate) fn at(&self, name: &str) -> String {
        // What follows a question mark belongs behind the name.
        match self.address.split_once('?') {
            Some((before, query)) => format!("{}/{name}?{query}", before.trim_end_matches('/')),
            None => format!("{}/{name}", self.address),
        }
    }

    /// A small text; `None` where the server has none.
    fn small(&self, address: &str) -> Result<Option<String>, Error> {
        let _question = self.remote.fetched.ask(&self.name());
        let download = match self.remote.client.get(address) {
            Ok(download) => download,
            Err(error) if error.is_absent() => return Ok(None),
            Err(source) => return Err(failed(address, source)),
        };
        let mut bytes = Vec::new();
        let read = download.take(MAX_NARINFO + 1).read_to_end(&mut bytes);
        read.map_err(|source| failed(address, net::Error::Broken(source)))?;
        let message = |message: &str| Error::File { path: net::shown(address), message: message.to_owned() };
        if ints::to_u64(bytes.len()) > MAX_NARINFO {
            return Err(message("is longer than a narinfo can be"));
        }
        String::from_utf8(bytes).map(Some).map_err(|_| message("is not text"))
    }

    fn narinfo_file(&self, path: &StorePath) -> PathBuf {
        self.kept.file("narinfo", &self.server).join(format!("{}.narinfo", path.hash_part()))
    }

    fn narinfo(&self, path: &StorePath) -> Result<Option<NarInfo>, Error> {
        if let Some(known) = locked(&self.known).get(path) {
            return Ok(known.clone().map(|(info, _)| info));
        }
        let file = self.narinfo_file(path);
        let local = std::fs::read_to_string(&file).ok().and_then(|text| NarInfo::parse(&text).ok());
        // What was kept when signatures were not checked is asked for again when they are.
        let local = local.filter(|info| info.path == *path && self.check_trust(info).is_ok());
        let found = match local {
            Some(info) => {
                touch(&file);
                Some((info, Origin::Kept))
            }
            None => self.fetch_narinfo(path)?.map(|info| (info, Origin::Fetched)),
        };
        locked(&self.known).insert(path.clone(), found.clone());
        Ok(found.map(|(info, _)| info))
    }

    fn check_trust(&self, info: &NarInfo) -> Result<(), Error> {
        match &self.remote.keys {
            Some(keys) if !keys.trust(&facts(info.clone())) => Err(Error::Untrusted {
                path: info.path.to_string(),
                store: net::shown(&self.address),
                keys: keys.names(),
            }),
            _ => Ok(()),
        }
    }

    /// The narinfo of a path that is known to be here.
    pub(crate) fn needed(&self, path: &StorePath) -> Result<NarInfo, Error> {
        let stores = net::shown(&self.address);
        let missing = || Error::Missing { path: path.to_string(), stores, referrer: String::new() };
        self.narinfo(path)?.ok_or_else(missing)
    }

    /// A newer narinfo than one that was kept, about the same contents; it takes its place.
    pub(crate) fn refresh(&self, path: &StorePath) -> Result<Option<NarInfo>, Error> {
        let Some(Some((old, Origin::Kept))) = locked(&self.known).get(path).cloned() else { return Ok(None) };
        let Some(new) = self.fetch_narinfo(path)? else { return Ok(None) };
        if (new.nar_hash, new.nar_size) != (old.nar_hash, old.nar_size) {
            return Ok(None);
        }
        locked(&self.known).insert(path.clone(), Some((new.clone(), Origin::Fetched)));
        Ok(Some(new))
    }

    fn fetch_narinfo(&self, path: &StorePath) -> Result<Option<NarInfo>, Error> {
        let address = self.at(&format!("{}.narinfo", path.hash_part()));
        let Some(text) = self.small(&address)? else { return Ok(None) };
        let info =
            NarInfo::parse(&text).map_err(|source| Error::NarInfo { path: net::shown(&address), source })?;
        if info.path != *path {
            let (expected, found) = (path.to_string(), info.path.to_string());
            let address = net::shown(&address);
            return Err(Error::Mismatch { path: address, what: "its StorePath", expected, found });
        }
        self.check_trust(&info)?;
        // What nobody has signed is asked for again: a server that has said something wrong may have been mended.
        if self.remote.keys.is_some() {
            let file = self.narinfo_file(path);
            keep(&file, |out| out.write_all(text.as_bytes()).map_err(|source| Error::io(&file, source)))?;
        }
        Ok(Some(info))
    }

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

fn facts(info: NarInfo) -> PathInfo {
    with_right_address(PathInfo {
        path: info.path,
        nar_hash: info.nar_hash,
        nar_size: info.nar_size,
        references: info.references,
        deriver: info.deriver,
        signatures: info.signatures,
        content_address: info.content_address,
    })
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
