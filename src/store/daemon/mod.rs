//! A store behind a Nix daemon: on a socket of this machine, or through ssh.
//!
//! What a daemon sends is kept as caches over http keep theirs, packed, under the hash of the NAR.

mod address;
mod connection;

pub use address::Builder;
pub use connection::{Error, Line};

use super::payload::{self, Verified};
use super::remote::{Fetched, Remote};
use super::trust::Keys;
use super::{PathInfo, Store};
use crate::format::nar::Delimited;
use crate::format::store_path::StorePath;
use crate::num::{self, to_base16};
use crate::stream::decompress::Compression;
use crate::tree::Node;
use connection::Connection;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the daemon of a machine listens, below the root of its store.
const SOCKET: &str = "nix/var/nix/daemon-socket/socket";
/// How long a daemon may say nothing.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take until ssh has let us in: somebody may have to find a token first.
const ADMISSION: Duration = Duration::from_secs(600);
/// Compression of what is kept: faster than any network.
const LEVEL: i32 = 1;
/// Bytes written at a time.
const CHUNK: usize = 256 << 10;

/// Runs ssh, which is not for a store to do.
pub trait Ssh: Send + Sync {
    /// Runs the builder's command on its host; what it reads and writes there is the line.
    fn run(&self, builder: &Builder) -> io::Result<Box<dyn Line>>;
}

/// How a daemon is reached.
enum Way {
    Socket(PathBuf),
    Ssh(Box<Builder>, Arc<dyn Ssh>),
}

impl Way {
    fn connect(&self) -> Result<Connection, Error> {
        match self {
            Self::Socket(path) => {
                let line = UnixStream::connect(path).map_err(Error::Connect)?;
                Connection::open(Box::new(line), PATIENCE, PATIENCE)
            }
            Self::Ssh(builder, ssh) => {
                let line = ssh.run(builder).map_err(Error::Connect)?;
                Connection::open(line, ADMISSION, PATIENCE)
            }
        }
    }
}

/// A store behind a daemon.
pub struct Daemon {
    name: String,
    way: Way,
    /// The connection, when it is there and nobody uses it.
    connection: Mutex<Option<Connection>>,
    known: Mutex<BTreeMap<StorePath, Option<PathInfo>>>,
    /// Who is believed; nobody has to be when `None`.
    keys: Option<Keys>,
    nars: PathBuf,
    fetched: Arc<Fetched>,
}

impl Daemon {
    fn new(name: String, way: Way, keys: Option<Keys>, remote: &Remote) -> Self {
        let (nars, fetched) = (remote.kept.join("nar"), Arc::clone(&remote.fetched));
        Self { name, way, connection: Mutex::default(), known: Mutex::default(), keys, nars, fetched }
    }

    /// The daemon of a socket. One on this machine is believed.
    pub fn of_socket(path: &Path, remote: &Remote) -> Self {
        Self::new(format!("unix://{}", path.display()), Way::Socket(path.to_owned()), None, remote)
    }

    /// The daemon of the store in a directory, where one listens.
    pub fn of_store(place: &Path, remote: &Remote) -> Result<Self, super::Error> {
        let daemon = Self::of_socket(&place.join(SOCKET), remote);
        daemon.ask(|_| Ok(()))?;
        Ok(daemon)
    }

    /// The daemon that ssh leads to.
    pub fn of_ssh(spec: &str, address: &str, remote: &Remote) -> Result<Self, super::Error> {
        let bad = |message| super::Error::NoStore { place: spec.to_owned(), message };
        let builder = Builder::parse(address).map_err(bad)?;
        let keys = remote.keys.clone().filter(|_| !builder.trusted);
        let name = format!("ssh-ng://{}", builder.host);
        Ok(Self::new(name, Way::Ssh(Box::new(builder), Arc::clone(&remote.ssh)), keys, remote))
    }

    fn failed(&self, source: Error) -> super::Error {
        super::Error::Daemon { store: self.name.clone(), source }
    }

    /// Uses the connection, which is closed when anything fails: it may be anywhere in an answer.
    fn ask<T>(
        &self,
        question: impl FnOnce(&mut Connection) -> Result<T, super::Error>,
    ) -> Result<T, super::Error> {
        let mut held = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => self.way.connect().map_err(|error| self.failed(error))?,
        };
        let answer = question(&mut connection)?;
        *held = Some(connection);
        Ok(answer)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<StorePath, Option<PathInfo>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, info: &PathInfo) -> Result<(), super::Error> {
        match &self.keys {
            Some(keys) if !keys.trust(info) => Err(super::Error::Untrusted {
                path: info.path.to_string(),
                store: self.name.clone(),
                keys: keys.names(),
            }),
            _ => Ok(()),
        }
    }

    /// The file that a NAR is kept in.
    fn kept(&self, info: &PathInfo) -> PathBuf {
        self.nars.join(format!("{}.zstd", to_base16(&info.nar_hash)))
    }

    /// Fetches NARs that are not there, over one connection.
    fn fetch(&self, infos: &[PathInfo]) -> Result<(), super::Error> {
        let missing: Vec<&PathInfo> = infos.iter().filter(|info| !self.kept(info).is_file()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.nars).map_err(|source| super::Error::io(&self.nars, source))?;
        self.fetched.total.fetch_add(missing.iter().map(|info| info.nar_size).sum(), Ordering::Relaxed);
        self.fetched.paths.fetch_add(missing.len(), Ordering::Relaxed);
        let paths: Vec<&StorePath> = missing.iter().map(|info| &info.path).collect();
        self.ask(|connection| {
            let kept = connection.nars(&paths, |at, nar| self.keep(nar, missing[at]).map_err(Fault::Store));
            kept.map_err(|fault| match fault {
                Fault::Daemon(error) => self.failed(error),
                Fault::Store(error) => error,
            })
        })
    }

    /// Keeps a NAR that is what it should be.
    fn keep(&self, nar: Delimited<impl BufRead>, info: &PathInfo) -> Result<(), super::Error> {
        let path = self.kept(info);
        let unwritten = |source| super::Error::io(&path, source);
        let mut file = tempfile::NamedTempFile::new_in(&self.nars).map_err(unwritten)?;
        let out = io::BufWriter::with_capacity(CHUNK, file.as_file_mut());
        let mut packed = zstd::Encoder::new(out, LEVEL).map_err(unwritten)?;
        packed.include_checksum(true).map_err(unwritten)?;
        let mut nar = Verified::new(nar, info);
        loop {
            let chunk =
                nar.fill_buf().map_err(|source| self.failed(Connection::read_failed(source, PATIENCE)))?;
            let len = chunk.len();
            if len == 0 {
                break;
            }
            packed.write_all(chunk).map_err(unwritten)?;
            nar.consume(len);
            self.fetched.bytes.fetch_add(num::to_u64(len), Ordering::Relaxed);
        }
        payload::verify(nar, info)?;
        packed.finish().and_then(|mut out| out.flush()).map_err(unwritten)?;
        file.persist(&path).map_err(|error| unwritten(error.error))?;
        Ok(())
    }

    fn info(&self, path: &StorePath) -> Result<PathInfo, super::Error> {
        let missing = || super::Error::Missing {
            path: path.to_string(),
            stores: self.name.clone(),
            referrer: String::new(),
        };
        self.path_info(path)?.ok_or_else(missing)
    }
}

/// Why fetching stopped.
enum Fault {
    Daemon(Error),
    Store(super::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Daemon(error)
    }
}

impl Store for Daemon {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, super::Error> {
        Ok(self.path_infos(std::slice::from_ref(path))?.pop().flatten())
    }

    fn path_infos(&self, paths: &[StorePath]) -> Result<Vec<Option<PathInfo>>, super::Error> {
        let unknown: Vec<StorePath> = {
            let known = self.known();
            paths.iter().filter(|path| !known.contains_key(path)).cloned().collect()
        };
        if !unknown.is_empty() {
            let infos =
                self.ask(|connection| connection.path_infos(&unknown).map_err(|error| self.failed(error)))?;
            for info in infos.iter().flatten() {
                self.check(info)?;
            }
            self.known().extend(unknown.into_iter().zip(infos));
        }
        let known = self.known();
        Ok(paths.iter().map(|path| known.get(path).cloned().flatten()).collect())
    }

    fn prefetch(&self, paths: &[StorePath]) -> Result<(), super::Error> {
        self.fetch(&self.path_infos(paths)?.into_iter().flatten().collect::<Vec<_>>())
    }

    fn open_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, super::Error> {
        let info = self.info(path)?;
        self.fetch(std::slice::from_ref(&info))?;
        let kept = self.kept(&info);
        let failed = |source| super::Error::io(&kept, source);
        let file = BufReader::with_capacity(CHUNK, File::open(&kept).map_err(failed)?);
        Compression::Zstd.open(Box::new(file)).map_err(failed)
    }

    fn listing(&self, _path: &StorePath) -> Result<Option<Node<()>>, super::Error> {
        Ok(None)
    }

    fn is_packed(&self) -> bool {
        true
    }

    fn names(&self) -> Result<Vec<StorePath>, super::Error> {
        self.ask(|connection| connection.paths().map_err(|error| self.failed(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Connects to a daemon that says these bytes and is silent then.
    fn greet(says: &[u8], closes: bool) -> Error {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(says).unwrap();
        let held = if closes { None } else { Some(theirs.try_clone().unwrap()) };
        let reader = std::thread::spawn(move || {
            if !closes {
                drop(io::copy(&mut theirs.take(1 << 10), &mut io::sink()));
            }
        });
        let patience = Duration::from_millis(300);
        let Err(error) = Connection::open(Box::new(ours), patience, patience) else { panic!("greeted") };
        drop(held);
        reader.join().unwrap();
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
