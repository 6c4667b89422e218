//! A binary cache over http: narinfos and NARs are fetched once and kept in a directory of this machine.
//!
//! ```text
//! KEPT/narinfo/SERVER/HASH.narinfo     SERVER: the first 16 digits of the SHA-256 of its address
//! KEPT/nar/HASH.COMPRESSION            HASH: that of the file, of the NAR where the file has none
//! ```
//! Files appear complete or not at all, under names that their contents determine, so parallel runs share them.

use super::cache::{MAX_NARINFO, check_store_dir, open_packed};
use super::daemon::Ssh;
use super::trust::Keys;
use super::{Error, PathInfo, Store};
use crate::format::narinfo::NarInfo;
use crate::format::store_path::StorePath;
use crate::net::{self, Client};
use crate::num::{self, to_base16};
use crate::tree::Node;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Connections at a time: narinfos are small, NARs share a line.
const NARINFO_CONNECTIONS: usize = 24;
const NAR_CONNECTIONS: usize = 16;
/// Bytes moved at a time.
const CHUNK: usize = 64 << 10;

/// How far fetching has come, for whoever shows it.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Bytes to fetch.
    pub total: AtomicU64,
    /// Bytes that were fetched.
    pub bytes: AtomicU64,
    /// Store paths to fetch.
    pub paths: AtomicUsize,
}

/// What all stores that are elsewhere share.
#[derive(Clone)]
pub struct Remote {
    /// Connections.
    pub client: Client,
    /// The directory of what was fetched.
    pub kept: PathBuf,
    /// Who is believed; nobody has to be when `None`.
    pub keys: Option<Keys>,
    /// Counts.
    pub fetched: Arc<Fetched>,
    /// Who runs ssh.
    pub ssh: Arc<dyn Ssh>,
}

/// A cache behind an address.
pub struct Http {
    address: String,
    remote: Remote,
    narinfos: PathBuf,
    nars: PathBuf,
    /// Narinfos by path, absent ones too.
    known: Mutex<BTreeMap<StorePath, Option<NarInfo>>>,
}

impl Http {
    /// Opens a cache, which must have a `nix-cache-info`.
    pub fn open(address: &str, remote: &Remote) -> Result<Self, Error> {
        let address = address.trim_end_matches('/').to_owned();
        let server = &to_base16(&Sha256::digest(&address))[..16];
        let (narinfos, nars) = (remote.kept.join("narinfo").join(server), remote.kept.join("nar"));
        for directory in [&narinfos, &nars] {
            std::fs::create_dir_all(directory).map_err(|source| Error::io(directory, source))?;
        }
        let http = Self { address, remote: remote.clone(), narinfos, nars, known: Mutex::default() };
        let info = http.at("nix-cache-info");
        let text = http.small(&info)?.ok_or_else(|| Error::NoStore {
            place: http.address.clone(),
            message: "it has no nix-cache-info".to_owned(),
        })?;
        check_store_dir(Path::new(&info), &text)?;
        Ok(http)
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    fn failed(address: &str, source: net::Error) -> Error {
        Error::Http { address: address.to_owned(), source }
    }

    /// A small text; `None` where the server has none.
    fn small(&self, address: &str) -> Result<Option<String>, Error> {
        let download = match self.remote.client.get(address) {
            Ok(download) => download,
            Err(error) if error.is_absent() => return Ok(None),
            Err(source) => return Err(Self::failed(address, source)),
        };
        let mut bytes = Vec::new();
        let read = download.take(MAX_NARINFO + 1).read_to_end(&mut bytes);
        read.map_err(|source| Error::io(Path::new(address), source))?;
        let message = |message: &str| Error::File { path: address.to_owned(), message: message.to_owned() };
        if num::to_u64(bytes.len()) > MAX_NARINFO {
            return Err(message("is longer than a narinfo can be"));
        }
        String::from_utf8(bytes).map(Some).map_err(|_| message("is not text"))
    }

    fn narinfo(&self, path: &StorePath) -> Result<Option<NarInfo>, Error> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return Ok(known.clone());
        }
        let name = format!("{}.narinfo", path.hash_part());
        let (kept, address) = (self.narinfos.join(&name), self.at(&name));
        let local = std::fs::read_to_string(&kept).ok().and_then(|text| NarInfo::parse(&text).ok());
        let info = match local.filter(|info| info.path == *path) {
            Some(info) => Some(info),
            None => self.fetch_narinfo(path, &address, &kept)?,
        };
        if let (Some(info), Some(keys)) = (&info, &self.remote.keys)
            && !keys.trust(&facts(info.clone()))
        {
            return Err(Error::Untrusted {
                path: path.to_string(),
                store: self.address.clone(),
                keys: keys.names(),
            });
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), info.clone());
        Ok(info)
    }

    fn fetch_narinfo(&self, path: &StorePath, address: &str, kept: &Path) -> Result<Option<NarInfo>, Error> {
        let Some(text) = self.small(address)? else { return Ok(None) };
        let info =
            NarInfo::parse(&text).map_err(|source| Error::NarInfo { path: address.to_owned(), source })?;
        if info.path != *path {
            let (expected, found) = (path.to_string(), info.path.to_string());
            return Err(Error::Mismatch { path: address.to_owned(), what: "its StorePath", expected, found });
        }
        keep(kept, |file| file.write_all(text.as_bytes()))?;
        Ok(Some(info))
    }

    /// The file of a NAR in the directory; it need not be there yet.
    fn kept(&self, info: &NarInfo) -> PathBuf {
        let hash = info.file_hash.unwrap_or(info.nar_hash);
        // The word comes from the server: only letters become part of a name.
        let kind: String = info.compression.chars().filter(char::is_ascii_alphanumeric).collect();
        self.nars.join(format!("{}.{kind}", to_base16(&hash)))
    }

    fn is_kept(&self, info: &NarInfo) -> bool {
        let len = std::fs::metadata(self.kept(info)).map(|metadata| metadata.len());
        len.is_ok_and(|len| info.file_size.is_none_or(|size| size == len))
    }

    /// Fetches a NAR, unless it is there.
    fn fetch(&self, info: &NarInfo) -> Result<PathBuf, Error> {
        let kept = self.kept(info);
        if self.is_kept(info) {
            return Ok(kept);
        }
        let address = match &info.url {
            url if url.starts_with("https://") || url.starts_with("http://") => url.clone(),
            url => self.at(url.trim_start_matches('/')),
        };
        let download = self.remote.client.get(&address).map_err(|source| Self::failed(&address, source))?;
        // A file without a length may not be longer than its NAR by more than any format adds.
        let most = info.file_size.unwrap_or(info.nar_size + info.nar_size / 8 + (1 << 20));
        let mut hash = Sha256::new();
        let mut len = 0;
        keep(&kept, |file| {
            let mut reader = download.take(most + 1);
            let mut chunk = vec![0; CHUNK];
            loop {
                let read = match reader.read(&mut chunk) {
                    Ok(0) => return Ok(()),
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                hash.update(&chunk[..read]);
                file.write_all(&chunk[..read])?;
                len += num::to_u64(read);
                self.remote.fetched.bytes.fetch_add(num::to_u64(read), Ordering::Relaxed);
            }
        })
        .and_then(|()| self.check(info, &address, len, hash))
        .inspect_err(|_| drop(std::fs::remove_file(&kept)))?;
        Ok(kept)
    }

    fn check(&self, info: &NarInfo, address: &str, len: u64, hash: Sha256) -> Result<(), Error> {
        if let Some(expected) = info.file_size.filter(|expected| *expected != len) {
            let (expected, found) = (expected.to_string(), format!("{len} or more"));
            return Err(Error::Mismatch { path: address.to_owned(), what: "its FileSize", expected, found });
        }
        let found: [u8; 32] = hash.finalize().into();
        match info.file_hash {
            Some(expected) if expected != found => Err(Error::Mismatch {
                path: address.to_owned(),
                what: "its FileHash",
                expected: crate::format::nar_hash::show(&expected),
                found: crate::format::nar_hash::show(&found),
            }),
            _ => Ok(()),
        }
    }
}

fn facts(info: NarInfo) -> PathInfo {
    PathInfo {
        path: info.path,
        nar_hash: info.nar_hash,
        nar_size: info.nar_size,
        references: info.references,
        deriver: info.deriver,
        signatures: info.signatures,
        content_address: info.content_address,
    }
}

/// Writes a file that appears complete or not at all.
fn keep(path: &Path, write: impl FnOnce(&mut std::fs::File) -> io::Result<()>) -> Result<(), Error> {
    let failed = |source| Error::io(path, source);
    let directory = path.parent().unwrap_or(path);
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    write(file.as_file_mut()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Does something for each item on several threads; the first failure, in the order of the items, is the result.
fn on_threads<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    each: impl Fn(&T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, Result<R, Error>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = each(item);
                    if result.is_err() {
                        // Nobody begins another one.
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(at, result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

impl Store for Http {
    fn name(&self) -> String {
        self.address.clone()
    }

    fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, Error> {
        Ok(self.narinfo(path)?.map(facts))
    }

    fn path_infos(&self, paths: &[StorePath]) -> Result<Vec<Option<PathInfo>>, Error> {
        on_threads(paths, NARINFO_CONNECTIONS, |path| self.path_info(path))
    }

    fn prefetch(&self, paths: &[StorePath]) -> Result<(), Error> {
        let mut infos = Vec::new();
        for path in paths {
            infos.extend(self.narinfo(path)?.filter(|info| !self.is_kept(info)));
        }
        // The largest first, so that none is left over at the end when all other connections are idle.
        let len = |info: &NarInfo| info.file_size.unwrap_or(info.nar_size);
        infos.sort_by_key(|info| std::cmp::Reverse(len(info)));
        let fetched = &self.remote.fetched;
        fetched.total.fetch_add(infos.iter().map(len).sum(), Ordering::Relaxed);
        fetched.paths.fetch_add(infos.len(), Ordering::Relaxed);
        on_threads(&infos, NAR_CONNECTIONS, |info| self.fetch(info)).map(drop)
    }

    fn open_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, Error> {
        let missing =
            || Error::Missing { path: path.to_string(), stores: self.name(), referrer: String::new() };
        let info = self.narinfo(path)?.ok_or_else(missing)?;
        let file = self.fetch(&info)?;
        open_packed(&file, &info)
    }

    fn listing(&self, _path: &StorePath) -> Result<Option<Node<()>>, Error> {
        Ok(None)
    }

    fn is_packed(&self) -> bool {
        true
    }

    /// A server cannot be asked what it has.
    fn names(&self) -> Result<Vec<StorePath>, Error> {
        Ok(Vec::new())
    }
}
