//! What is known of a cache over http, and shared by the threads that ask it.

use super::download_dir::{Kept, keep, touch};
use super::listed::Listings;
use super::orders::Orders;
use super::progress::Remote;
use super::threads::locked;
use crate::format::nix::narinfo::NarInfo;
use crate::format::nix::store_path::StorePath;
use crate::ints;
use crate::net;
use crate::store::archive::cache_dir::MAX_NARINFO;
use crate::store::error::Error;
use crate::store::trust::keys::facts;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;

/// Connections at a time for what is small and takes a journey.
pub(crate) const CONNECTIONS: usize = 32;

/// What the threads that fetch share with who asks.
pub(crate) struct Shared {
    pub(super) address: String,
    pub(crate) remote: Remote,
    pub(crate) kept: Kept,
    /// The name of this server in the directory.
    pub(super) server: String,
    /// Narinfos by path, absent ones too, and whether they were kept.
    pub(super) known: Mutex<BTreeMap<StorePath, Option<(NarInfo, Origin)>>>,
    pub(crate) orders: Orders,
    pub(crate) listings: Listings,
}

/// Where a narinfo is from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Kept,
    Fetched,
}

/// A server does not give what is at an address.
pub(crate) fn failed(address: &str, source: net::Error) -> Error {
    Error::Http { address: net::shown(address), source }
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
    pub(super) fn small(&self, address: &str) -> Result<Option<String>, Error> {
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

    pub(super) fn narinfo_file(&self, path: &StorePath) -> PathBuf {
        self.kept.file("narinfo", &self.server).join(format!("{}.narinfo", path.hash_part()))
    }

    pub(super) fn narinfo(&self, path: &StorePath) -> Result<Option<NarInfo>, Error> {
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

    pub(super) fn check_trust(&self, info: &NarInfo) -> Result<(), Error> {
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

    pub(super) fn fetch_narinfo(&self, path: &StorePath) -> Result<Option<NarInfo>, Error> {
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
}
