//! NARs of a cache over http on their way into the directory of what is kept, in the order in which they are needed.
//!
//! Several threads fetch what was ordered, in the order of an image. Who needs a NAR that nobody has begun fetches it
//! itself; who needs one that is on its way waits for it.

use super::download_dir::{is_whole, keep, keep_sum, remove, sum_file, touch};
use super::http;
use super::http::Shared;
use crate::format::nix::nar_hash;
use crate::format::nix::narinfo::NarInfo;
use crate::format::nix::store_path::StorePath;
use crate::net;
use crate::num;
use crate::num::to_base16;
use crate::store::error::Error;
use crate::stream::decompress::Compression;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Connections at a time for NARs, which share a line.
const CONNECTIONS: usize = 16;
/// Bytes moved at a time.
const CHUNK: usize = 64 << 10;
/// How often a file is fetched from its beginning when its connection breaks and cannot be resumed.
const ATTEMPTS: u32 = 3;

/// What was ordered and what became of it.
#[derive(Default)]
pub(crate) struct Orders {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    waiting: BTreeSet<StorePath>,
    busy: BTreeSet<StorePath>,
    ready: BTreeSet<StorePath>,
    failed: BTreeMap<StorePath, Error>,
    /// Threads that were started.
    threads: usize,
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the threads end soon.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.lock().waiting.clear();
    }
}

/// Orders NARs, which several threads begin to fetch.
pub(crate) fn order(shared: &Arc<Shared>, paths: impl Iterator<Item = StorePath>) {
    let mut state = shared.orders.lock();
    for path in paths {
        if !state.ready.contains(&path) && !state.busy.contains(&path) {
            state.waiting.insert(path);
        }
    }
    while state.threads < CONNECTIONS.min(state.waiting.len()) {
        state.threads += 1;
        let shared = Arc::clone(shared);
        std::thread::spawn(move || work(&shared));
    }
}

fn work(shared: &Shared) {
    loop {
        let path = {
            let mut state = shared.orders.lock();
            let Some(path) = state.waiting.pop_first() else {
                state.threads -= 1;
                return;
            };
            state.busy.insert(path.clone());
            path
        };
        if let Err(error) = finish(shared, &path) {
            shared.orders.lock().failed.insert(path, error);
            shared.orders.changed.notify_all();
        }
    }
}

/// Obtains a NAR that this thread has made busy, and says so.
fn finish(shared: &Shared, path: &StorePath) -> Result<(), Error> {
    shared.remote.fetched.begin(path, &shared.name());
    let result = shared.obtain(path);
    shared.remote.fetched.end(path);
    let mut state = shared.orders.lock();
    state.busy.remove(path);
    if result.is_ok() {
        state.ready.insert(path.clone());
    }
    shared.orders.changed.notify_all();
    result
}

impl Shared {
    /// The file of a NAR, once it is there and is what the narinfo says.
    pub(crate) fn ready(&self, path: &StorePath) -> Result<PathBuf, Error> {
        let mut state = self.orders.lock();
        loop {
            if state.ready.contains(path) {
                drop(state);
                let file = self.nar_file(&self.needed(path)?);
                if file.exists() {
                    return Ok(file);
                }
                // Another run has pruned it.
                state = self.orders.lock();
                state.ready.remove(path);
            } else if let Some(error) = state.failed.remove(path) {
                return Err(error);
            } else if state.busy.contains(path) {
                state = self.orders.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                break;
            }
        }
        state.waiting.remove(path);
        state.busy.insert(path.clone());
        drop(state);
        finish(self, path)?;
        Ok(self.nar_file(&self.needed(path)?))
    }

    /// Forgets a NAR that turned out to be wrong.
    pub(crate) fn forget(&self, path: &StorePath) -> Result<(), Error> {
        self.orders.lock().ready.remove(path);
        let file = self.nar_file(&self.needed(path)?);
        remove(&sum_file(&file)).and_then(|()| remove(&file))
    }

    /// The file of a NAR in the directory; it need not be there yet.
    pub(crate) fn nar_file(&self, info: &NarInfo) -> PathBuf {
        // The word comes from the server: only letters become part of a name.
        let kind: String = info.compression.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        self.kept.file("nar", &format!("{}.{kind}", to_base16(&info.nar_hash)))
    }

    /// Has a NAR in the directory: the file that is there, if it is whole, or one that is fetched.
    fn obtain(&self, path: &StorePath) -> Result<(), Error> {
        let info = self.needed(path)?;
        let file = self.nar_file(&info);
        if is_whole(&file, info.file_hash.as_ref())? {
            touch(&file);
            return Ok(());
        }
        let error = match self.fetch(&info, &file) {
            Err(error) if is_stale(&error) => error,
            result => return result,
        };
        // The server may have packed it anew since its narinfo was kept.
        match self.refresh(path)? {
            Some(new) if new != info => self.fetch(&new, &self.nar_file(&new)),
            _ => Err(error),
        }
    }

    /// Where a NAR is: below the cache, or at an address of its own, which is no worse than a redirect to it.
    fn nar_address(&self, info: &NarInfo) -> Result<String, Error> {
        let url = info.url.as_str();
        let is_address = url.starts_with("https://") || url.starts_with("http://");
        let is_open = self.name().starts_with("https://") && url.starts_with("http://");
        let plain = url.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/");
        let leads_out = !is_address && plain.split(['/', '\\', '?']).any(|part| part == "..");
        let has_scheme = !is_address && url.split('/').next().is_some_and(|first| first.contains(':'));
        let is_odd = !url.bytes().all(|byte| byte.is_ascii_graphic());
        if is_open || leads_out || has_scheme || is_odd {
            let expected = "a file in the cache, or an address that is as safe";
            return Err(Error::Mismatch {
                path: info.path.to_string(),
                what: "the URL of its NAR",
                expected: expected.to_owned(),
                found: url.to_owned(),
            });
        }
        Ok(if is_address { url.to_owned() } else { self.at(url.trim_start_matches('/')) })
    }

    /// Fetches a NAR from its beginning, a few times if connections break.
    fn fetch(&self, info: &NarInfo, file: &Path) -> Result<(), Error> {
        let address = self.nar_address(info)?;
        let mut attempt = 1;
        loop {
            let mut taken = 0;
            let result = self.download(info, &address, file, &mut taken);
            match result {
                Err(Error::Http { source: net::Error::Broken(_), .. })
                    if attempt < ATTEMPTS && !self.orders.stop.load(Ordering::Relaxed) =>
                {
                    self.remote.fetched.bytes.fetch_sub(taken, Ordering::Relaxed);
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn download(&self, info: &NarInfo, address: &str, file: &Path, len: &mut u64) -> Result<(), Error> {
        let download = self.remote.client.get(address).map_err(|source| http::failed(address, source))?;
        let most = longest(info);
        let mut reader = download.take(most + 1);
        let mut hash = Sha256::new();
        keep(file, |out| {
            let mut chunk = vec![0; CHUNK];
            loop {
                if self.orders.stop.load(Ordering::Relaxed) {
                    return Err(http::failed(address, net::Error::Request("interrupted".to_owned())));
                }
                let read = match reader.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(http::failed(address, net::Error::Broken(error))),
                };
                hash.update(&chunk[..read]);
                out.write_all(&chunk[..read]).map_err(|source| Error::io(file, source))?;
                *len += num::to_u64(read);
                self.remote.fetched.bytes.fetch_add(num::to_u64(read), Ordering::Relaxed);
            }
            let found: [u8; 32] = std::mem::take(&mut hash).finalize().into();
            check(info, address, *len)?;
            check_transfer(info, address, *len, &found, out)?;
            let claimed =
                info.file_hash.filter(|claimed| *claimed != found).map(|claimed| to_base16(&claimed));
            keep_sum(file, &to_base16(&found), claimed.as_deref())
        })
    }
}

/// Whether a newer narinfo may help.
fn is_stale(error: &Error) -> bool {
    match error {
        Error::Http { source, .. } => source.is_absent(),
        Error::Mismatch { .. } => true,
        _ => false,
    }
}

/// The most bytes that a file may have: no format adds much to a NAR that it cannot pack.
fn longest(info: &NarInfo) -> u64 {
    info.nar_size.saturating_add(info.nar_size / 8 + (1 << 20))
}

/// What is not the file that the narinfo tells of is believed by its contents alone, so it is unpacked before it is kept:
/// a cache may have packed its NARs anew, and a connection may have ended early.
fn check_transfer(
    info: &NarInfo,
    address: &str,
    len: u64,
    found: &[u8; 32],
    file: &mut File,
) -> Result<(), Error> {
    let mismatch =
        |what, expected, found| Error::Mismatch { path: net::shown(address), what, expected, found };
    let error = match (info.file_size, &info.file_hash) {
        (Some(expected), _) if expected != len => {
            mismatch("its FileSize", expected.to_string(), len.to_string())
        }
        (_, Some(expected)) if expected != found => {
            mismatch("its FileHash", nar_hash::show(expected), nar_hash::show(found))
        }
        _ => return Ok(()),
    };
    let Some(compression) = Compression::of_word(&info.compression) else { return Err(error) };
    let read = || -> io::Result<[u8; 32]> {
        let mut packed = file.try_clone()?;
        packed.rewind()?;
        let mut nar = compression.open(Box::new(BufReader::new(packed)))?.take(info.nar_size + 1);
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            match nar.read(&mut chunk)? {
                0 => return Ok(hash.finalize().into()),
                read => hash.update(&chunk[..read]),
            }
        }
    };
    if read().is_ok_and(|hash| hash == info.nar_hash) { Ok(()) } else { Err(error) }
}

/// A file may be as long as a packed NAR can be. Its FileSize and FileHash say nothing that its NarHash does not.
fn check(info: &NarInfo, address: &str, len: u64) -> Result<(), Error> {
    let most = longest(info);
    if len > most {
        return Err(Error::Mismatch {
            path: net::shown(address),
            what: "its length",
            expected: format!("at most {most} for a NAR of {}", info.nar_size),
            found: format!("{len} or more"),
        });
    }
    Ok(())
}
