//! A daemon as a store.

use super::address::Builder;
use super::connection::Connection;
use super::connection::Line;
use super::line::Fault;
use super::line::Lasting;
use super::line::Way;
use crate::format::nix::nar::Delimited;
use crate::format::nix::store_path::StorePath;
use crate::num;
use crate::num::to_base16;
use crate::store::interface::PathInfo;
use crate::store::interface::Store;
use crate::store::remote::download_dir::Kept;
use crate::store::remote::download_dir::Summed;
use crate::store::remote::download_dir::is_whole;
use crate::store::remote::download_dir::keep;
use crate::store::remote::download_dir::keep_sum;
use crate::store::remote::download_dir::remove;
use crate::store::remote::download_dir::sum_file;
use crate::store::remote::download_dir::touch;
use crate::store::remote::http::locked;
use crate::store::remote::progress::Remote;
use crate::store::trust::keys::Keys;
use crate::store::verified_nar;
use crate::store::verified_nar::Verified;
use crate::stream::decompress::Compression;
use crate::tree::Node;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// Where the daemon of a machine listens, below the root of its store.
pub(super) const SOCKET: &str = "nix/var/nix/daemon-socket/socket";
/// Compression of what is kept: faster than any network.
pub(super) const LEVEL: i32 = 1;
/// Bytes written at a time.
pub(super) const CHUNK: usize = 256 << 10;
/// Runs ssh, which is not for a store to do.
pub trait Ssh: Send + Sync {
    /// Runs the builder's command on its host; what it reads and writes there is the line.
    fn run(&self, builder: &Builder) -> io::Result<Box<dyn Line>>;
}

/// A store behind a daemon.
pub struct Daemon {
    pub(super) name: String,
    pub(super) line: Lasting,
    pub(super) known: Mutex<BTreeMap<StorePath, Option<PathInfo>>>,
    /// Who is believed; nobody has to be when `None`.
    pub(super) keys: Option<Keys>,
    pub(super) remote: Remote,
    /// The directory of what was fetched, once anything has to be.
    pub(super) kept: OnceLock<Kept>,
    /// Files in it that are whole.
    pub(super) whole: Mutex<BTreeSet<PathBuf>>,
}

impl Daemon {
    pub(super) fn new(name: String, way: Way, keys: Option<Keys>, remote: &Remote) -> Self {
        Self {
            name,
            line: Lasting::new(way),
            known: Mutex::default(),
            keys,
            remote: remote.clone(),
            kept: OnceLock::new(),
            whole: Mutex::default(),
        }
    }

    /// The daemon of a socket. One on this machine is believed.
    pub fn of_socket(path: &Path, remote: &Remote) -> Self {
        Self::new(format!("unix://{}", path.display()), Way::Socket(path.to_owned()), None, remote)
    }

    /// The daemon of the store in a directory, where one listens.
    pub fn of_store(place: &Path, remote: &Remote) -> Result<Self, crate::store::error::Error> {
        let daemon = Self::of_socket(&place.join(SOCKET), remote);
        daemon.ask(|_| Ok(()))?;
        Ok(daemon)
    }

    /// The daemon that ssh leads to.
    pub fn of_ssh(spec: &str, address: &str, remote: &Remote) -> Result<Self, crate::store::error::Error> {
        let bad = |message| crate::store::error::Error::NoStore { place: spec.to_owned(), message };
        let builder = Builder::parse(address).map_err(bad)?;
        let keys = remote.keys.clone().filter(|_| !builder.trusted);
        let name = format!("ssh-ng://{}", builder.host);
        Ok(Self::new(name, Way::Ssh(Box::new(builder), Arc::clone(&remote.ssh)), keys, remote))
    }

    pub(super) fn ask<T>(
        &self,
        question: impl FnMut(&mut Connection) -> Result<T, Fault>,
    ) -> Result<T, crate::store::error::Error> {
        let _question = self.remote.fetched.ask(&self.name);
        self.line.ask(question).map_err(|fault| match fault {
            Fault::Daemon(source) => crate::store::error::Error::Daemon { store: self.name.clone(), source },
            Fault::Store(error) => error,
        })
    }

    pub(super) fn check(&self, info: &PathInfo) -> Result<(), crate::store::error::Error> {
        match &self.keys {
            Some(keys) if !keys.trust(info) => Err(crate::store::error::Error::Untrusted {
                path: info.path.to_string(),
                store: self.name.clone(),
                keys: keys.names(),
            }),
            _ => Ok(()),
        }
    }

    /// The directory of what was fetched.
    pub(super) fn kept(&self) -> Result<&Kept, crate::store::error::Error> {
        if let Some(kept) = self.kept.get() {
            return Ok(kept);
        }
        let kept = Kept::open(&self.remote.kept, self.remote.most)?;
        Ok(self.kept.get_or_init(|| kept))
    }

    /// The file that a NAR is kept in.
    pub(super) fn file(&self, info: &PathInfo) -> Result<PathBuf, crate::store::error::Error> {
        Ok(self.kept()?.file("nar", &format!("{}.zstd", to_base16(&info.nar_hash))))
    }

    /// Whether a file is there and is what was written; it is read once in a run.
    pub(super) fn is_whole(&self, file: &Path) -> Result<bool, crate::store::error::Error> {
        if locked(&self.whole).contains(file) {
            // Another run may have pruned it.
            return Ok(file.is_file());
        }
        let is_whole = is_whole(file, None)?;
        if is_whole {
            touch(file);
            locked(&self.whole).insert(file.to_owned());
        }
        Ok(is_whole)
    }

    /// Fetches NARs that are not there, over one connection; what has come is not asked for again when that breaks.
    pub(super) fn fetch(&self, infos: &[PathInfo]) -> Result<(), crate::store::error::Error> {
        let (mut missing, mut in_use) = (Vec::new(), BTreeSet::new());
        for info in infos {
            let file = self.file(info)?;
            if !self.is_whole(&file)? {
                missing.push(info);
            }
            in_use.extend([sum_file(&file), file]);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let bytes = missing.iter().map(|info| info.nar_size).fold(0, u64::saturating_add);
        self.kept()?.make_room(bytes, &in_use)?;
        let fetched = &self.remote.fetched;
        fetched.paths.fetch_add(missing.len(), Ordering::Relaxed);
        // Last: who sees it sees the number of paths.
        fetched.total.fetch_add(bytes, Ordering::Release);
        let mut rest = &missing[..];
        self.ask(|connection| {
            let paths: Vec<&StorePath> = rest.iter().map(|info| &info.path).collect();
            connection.nars(&paths, |_, nar| {
                let Some((info, others)) = rest.split_first() else { return Ok(()) };
                self.receive(nar, info)?;
                self.line.arrived();
                rest = others;
                Ok(())
            })
        })
    }

    /// Keeps a NAR that is what it should be, and counts it.
    pub(super) fn receive(&self, nar: Delimited<impl BufRead>, info: &PathInfo) -> Result<(), Fault> {
        let fetched = &self.remote.fetched;
        fetched.begin(&info.path, &self.name);
        let mut taken = 0;
        let result = self.keep(nar, info, &mut taken);
        match &result {
            Ok(()) => fetched.end(&info.path),
            // It comes again from its beginning.
            Err(_) => drop(fetched.bytes.fetch_sub(taken, Ordering::Relaxed)),
        }
        result
    }

    pub(super) fn keep(
        &self,
        nar: Delimited<impl BufRead>,
        info: &PathInfo,
        taken: &mut u64,
    ) -> Result<(), Fault> {
        let path = self.file(info)?;
        let unwritten = |source| crate::store::error::Error::io(&path, source);
        let mut broken = None;
        let kept = keep(&path, |file| {
            let out = io::BufWriter::with_capacity(CHUNK, Summed::new(file));
            let mut packed = zstd::Encoder::new(out, LEVEL).map_err(unwritten)?;
            packed.include_checksum(true).map_err(unwritten)?;
            let mut nar = Verified::new(nar, info);
            loop {
                let chunk = nar.fill_buf().map_err(|source| {
                    broken = Some(Connection::read_failed(source));
                    unwritten(io::ErrorKind::UnexpectedEof.into())
                })?;
                let len = chunk.len();
                if len == 0 {
                    break;
                }
                packed.write_all(chunk).map_err(unwritten)?;
                nar.consume(len);
                *taken += num::to_u64(len);
                self.remote.fetched.bytes.fetch_add(num::to_u64(len), Ordering::Relaxed);
            }
            verified_nar::verify(nar, info)?;
            let out = packed.finish().map_err(unwritten)?;
            let summed = out.into_inner().map_err(|error| unwritten(error.into_error()))?;
            keep_sum(&path, &summed.sum(), None)
        });
        match (broken, kept) {
            (Some(error), _) => Err(error.into()),
            (None, kept) => {
                kept?;
                locked(&self.whole).insert(path);
                Ok(())
            }
        }
    }

    pub(super) fn info(&self, path: &StorePath) -> Result<PathInfo, crate::store::error::Error> {
        let missing = || crate::store::error::Error::Missing {
            path: path.to_string(),
            stores: self.name.clone(),
            referrer: String::new(),
        };
        self.path_info(path)?.ok_or_else(missing)
    }
}

impl Store for Daemon {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, crate::store::error::Error> {
        Ok(self.path_infos(std::slice::from_ref(path))?.pop().flatten())
    }

    fn path_infos(&self, paths: &[StorePath]) -> Result<Vec<Option<PathInfo>>, crate::store::error::Error> {
        let unknown: Vec<StorePath> = {
            let known = locked(&self.known);
            paths.iter().filter(|path| !known.contains_key(path)).cloned().collect()
        };
        if !unknown.is_empty() {
            let infos = self.ask(|connection| Ok(connection.path_infos(&unknown)?))?;
            for info in infos.iter().flatten() {
                self.check(info)?;
            }
            locked(&self.known).extend(unknown.into_iter().zip(infos));
        }
        let known = locked(&self.known);
        Ok(paths.iter().map(|path| known.get(path).cloned().flatten()).collect())
    }

    fn prefetch(&self, paths: &[StorePath]) -> Result<(), crate::store::error::Error> {
        self.fetch(&self.path_infos(paths)?.into_iter().flatten().collect::<Vec<_>>())
    }

    fn open_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, crate::store::error::Error> {
        let info = self.info(path)?;
        self.fetch(std::slice::from_ref(&info))?;
        let kept = self.file(&info)?;
        let failed = |source| crate::store::error::Error::io(&kept, source);
        let file = BufReader::with_capacity(CHUNK, File::open(&kept).map_err(failed)?);
        Compression::Zstd.open(Box::new(file)).map_err(failed)
    }

    fn listing(&self, _path: &StorePath) -> Result<Option<Node<()>>, crate::store::error::Error> {
        Ok(None)
    }

    fn is_packed(&self) -> bool {
        true
    }

    fn names(&self) -> Result<Vec<StorePath>, crate::store::error::Error> {
        self.ask(|connection| Ok(connection.paths()?))
    }

    fn refute(&self, path: &StorePath) -> Result<(), crate::store::error::Error> {
        let file = self.file(&self.info(path)?)?;
        locked(&self.whole).remove(&file);
        remove(&sum_file(&file)).and_then(|()| remove(&file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::daemon::connection::Error;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    /// Connects to a daemon that says these bytes and is silent then.
    fn greet(says: &[u8], closes: bool) -> Error {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(says).unwrap();
        let held = theirs.try_clone().unwrap();
        // What is written is read, so that nobody waits for that; a thread may come late to close anything.
        let reader = (!closes)
            .then(|| std::thread::spawn(move || drop(io::copy(&mut theirs.take(1 << 10), &mut io::sink()))));
        let held = Some(held).filter(|_| !closes);
        let patience = Duration::from_millis(300);
        let Err(error) = Connection::open(Box::new(ours), patience, patience) else { panic!("greeted") };
        drop(held);
        reader.into_iter().for_each(|reader| reader.join().unwrap());
        error
    }

    #[test]
    fn a_daemon_that_stalls_or_goes_away_at_any_byte_is_not_waited_for() {
        let words: [u64; 9] = [0x6478_696f, 0x126, 0, 1, 0x78, 1, 0x6f6c_6d67, 1, 0x6c];
        let hello: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        for at in (0..hello.len()).step_by(13) {
            assert!(matches!(greet(&hello[..at], false), Error::Silent { .. }), "stalls at {at}");
            let closed = greet(&hello[..at], true);
            assert!(matches!(closed, Error::Wire(_) | Error::Write(_)), "ends at {at}: {closed}");
        }
    }
}
