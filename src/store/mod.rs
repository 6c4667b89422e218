//! Where store paths are and how they are packed.
//!
//! A store hands out NARs only, whatever it is made of: one path for all contents, each byte checked against its
//! NarHash on the way to the medium, and no metadata of the host (owner, time, attributes, case) can leak.

mod cache;
pub mod channel;
mod closure;
mod daemon;
mod database;
mod directory;
mod export;
mod fetch;
mod flat;
mod http;
mod kept;
mod knowledge;
mod listings;
mod look;
mod payload;
mod remote;
mod trust;

pub use closure::{Closure, Member, closure};
pub use daemon::{Builder, Line, Ssh};
pub use kept::{Usage, prune, usage};
pub use look::{Part, index, unpack};
pub use payload::{FileHeader, Payload};
pub use remote::{Fetched, Remote};
pub use trust::{BadKey, Judged, Keys};

use crate::format::nix::store_path::StorePath;
use crate::format::nix::{database as nix_db, nar, nar_hash, narinfo, path_info, registration, wire};
use crate::net;
use crate::tree::Node;
use std::io::{self, BufRead, Read};
use std::path::Path;

/// What a store knows of a path without its contents.
pub type PathInfo = nix_db::Row;

/// A place that has store paths.
pub trait Store: Send + Sync {
    /// Names the store in messages: its path or URL.
    fn name(&self) -> String;

    /// What is known of a path, or `None` when the store does not have it.
    fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, Error>;

    /// What is known of several paths, in their order: at once, where asking takes time.
    fn path_infos(&self, paths: &[StorePath]) -> Result<Vec<Option<PathInfo>>, Error> {
        paths.iter().map(|path| self.path_info(path)).collect()
    }

    /// Begins to fetch NARs that will be opened, where they are far away.
    fn prefetch(&self, _paths: &[StorePath]) -> Result<(), Error> {
        Ok(())
    }

    /// The NAR of a path that `path_info` gave. Its length and hash are not checked here.
    fn open_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, Error>;

    /// The tree of a path with the length of each file, where the store knows it without reading contents.
    fn listing(&self, path: &StorePath) -> Result<Option<Node<()>>, Error>;

    /// Whether contents have to be decoded, which is worth more than one thread.
    fn is_packed(&self) -> bool;

    /// The NAR of a path for a look at its tree. What is checked when its contents move need not be checked here.
    fn peek_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, Error> {
        self.open_nar(path)
    }

    /// Learns that contents that have moved had the hash and the tree of this listing, where a listing can be written.
    fn confirm(&self, _path: &StorePath, _listing: &dyn Fn() -> Option<String>) {}

    /// Learns that what it gave of a path is wrong, so that it gives it no second time.
    fn refute(&self, _path: &StorePath) -> Result<(), Error> {
        Ok(())
    }

    /// Every path that the store has, in order.
    fn names(&self) -> Result<Vec<StorePath>, Error>;
}

/// A store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A place is not a store.
    #[error("{place} is no store: {message}")]
    NoStore {
        /// What the user named.
        place: String,
        /// What was looked for.
        message: String,
    },
    /// The file system refuses.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file or directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file of a store is neither a regular file, nor a directory, nor a symlink, or has changed.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// The database cannot be read.
    #[error("{path}: {source}")]
    Database {
        /// The database.
        path: String,
        /// Why.
        source: nix_db::Error,
    },
    /// A narinfo is wrong.
    #[error("{path}: {source}")]
    NarInfo {
        /// The narinfo.
        path: String,
        /// Why.
        source: narinfo::Error,
    },
    /// A registration is wrong.
    #[error("{path}: {source}")]
    Registration {
        /// The file.
        path: String,
        /// Why.
        source: registration::Error,
    },
    /// The output of `nix path-info --json` is wrong.
    #[error("{path}: {source}")]
    PathInfo {
        /// The file.
        path: String,
        /// Why.
        source: path_info::Error,
    },
    /// An export is damaged or is not one.
    #[error("{name}: {source}")]
    Export {
        /// The export.
        name: String,
        /// Why.
        source: wire::Error,
    },
    /// A daemon does not give something.
    #[error("{store}: {source}")]
    Daemon {
        /// The daemon.
        store: String,
        /// Why.
        source: daemon::Error,
    },
    /// A NAR is damaged or is not one.
    #[error("{path}: {source}")]
    Nar {
        /// The store path.
        path: String,
        /// Why.
        source: nar::Error,
    },
    /// Contents are not those that were registered.
    #[error("{path}: {what} is {found}, expected {expected}")]
    Mismatch {
        /// The store path or file.
        path: String,
        /// What was compared.
        what: &'static str,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A tree is not as it was when the image was planned.
    #[error("{path}: {message}: it differs from its listing")]
    Listing {
        /// The store path.
        path: String,
        /// Where.
        message: String,
    },
    /// A server does not give something.
    #[error("{address}: {source}")]
    Http {
        /// The address.
        address: String,
        /// Why.
        source: net::Error,
    },
    /// Nobody who is trusted vouches for a path.
    #[error("{path} from {store} has no signature of a trusted key ({keys})")]
    Untrusted {
        /// The path.
        path: String,
        /// Who has it.
        store: String,
        /// Who is trusted.
        keys: String,
    },
    /// Paths refer to each other in a circle.
    #[error("references that go in a circle: {cycle}")]
    Cycle {
        /// The circle.
        cycle: String,
    },
    /// Paths of a closure are nowhere.
    #[error("{path} is in none of the stores ({stores}){referrer}")]
    Missing {
        /// The path.
        path: String,
        /// Where it was looked for.
        stores: String,
        /// Who refers to it.
        referrer: String,
    },
}

impl Error {
    /// Whether what was read is at fault, and not the machine.
    #[must_use]
    pub fn is_bad_source(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
            Self::NoStore { .. } | Self::Http { .. } => false,
            // What is no protocol and no archive is bad; that nobody is there, or goes away, is not.
            Self::Daemon { source: daemon::Error::Endless, .. } => true,
            Self::Daemon { source: daemon::Error::Wire(inner), .. } => !inner.is_broken_stream(),
            Self::Daemon { .. } => false,
            Self::Export { source: wire::Error::Read { source, .. }, .. } => source.raw_os_error().is_none(),
            // Decoders report damage as errors of input.
            Self::Nar { source: nar::Error::Read { source, .. }, .. } => source.raw_os_error().is_none(),
            _ => true,
        }
    }

    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), source }
    }

    fn nar(path: &StorePath, source: nar::Error) -> Self {
        // An error that a reader of files made knows its file.
        if let nar::Error::Read { source: cause, .. } = &source
            && let Some(inner) = cause.get_ref()
            && inner.is::<Self>()
        {
            let nar::Error::Read { source, .. } = source else { unreachable!("just matched") };
            return match source.downcast::<Self>() {
                Ok(own) => own,
                Err(source) => {
                    Self::Nar { path: path.to_string(), source: nar::Error::Read { at: 0, source } }
                }
            };
        }
        Self::Nar { path: path.to_string(), source }
    }

    fn hash(path: &StorePath, what: &'static str, expected: &[u8; 32], found: &[u8; 32]) -> Self {
        Self::Mismatch {
            path: path.to_string(),
            what,
            expected: nar_hash::show(expected),
            found: nar_hash::show(found),
        }
    }
}

/// Opens a store by what the user named: `auto` (this machine's), `daemon`, `unix://SOCKET`, `ssh-ng://HOST`,
/// `http(s)://...`, `file://DIR`, `export:FILE`, a directory, or a file that lists paths. `paths` is the directory that
/// such a file describes.
pub fn open(spec: &str, paths: Option<&Path>, remote: &Remote) -> Result<Box<dyn Store>, Error> {
    if spec.starts_with("http://") || spec.starts_with("https://") {
        return Ok(Box::new(http::Http::open(spec, remote)?));
    }
    if let Some(directory) = spec.strip_prefix("file://") {
        return Ok(Box::new(cache::Cache::open(Path::new(directory))?));
    }
    if let Some(address) = spec.strip_prefix("ssh-ng://") {
        return Ok(Box::new(daemon::Daemon::of_ssh(spec, address, remote)?));
    }
    if let Some(socket) = spec.strip_prefix("unix://") {
        return Ok(Box::new(daemon::Daemon::of_socket(Path::new(socket), remote)));
    }
    if spec == "daemon" {
        return Ok(Box::new(directory::Directory::of_daemon(Path::new("/"), remote)?));
    }
    if let Some(place) = spec.strip_prefix("export:") {
        return Ok(Box::new(export::Export::open(place, &remote.kept)?));
    }
    if let Some(host) = spec.strip_prefix("ssh://") {
        let message = format!("ssh:// is the protocol of old Nix; use ssh-ng://{host}");
        return Err(Error::NoStore { place: spec.to_owned(), message });
    }
    if let Some((scheme, _)) = spec.split_once("://") {
        let message = format!(
            "stores of the kind {scheme}:// are not supported; use https://..., ssh-ng://HOST, file://DIR, unix://SOCKET, export:FILE or a directory"
        );
        return Err(Error::NoStore { place: spec.to_owned(), message });
    }
    let place = if spec == "auto" { Path::new("/") } else { Path::new(spec) };
    let kind = std::fs::metadata(place).map_err(|source| Error::io(place, source))?;
    if kind.is_file() {
        if is_export(place)? {
            return Ok(Box::new(export::Export::open(spec, &remote.kept)?));
        }
        return Ok(Box::new(directory::Directory::of_file(place, paths)?));
    }
    if place.join("nix-cache-info").is_file() {
        return Ok(Box::new(cache::Cache::open(place)?));
    }
    Ok(Box::new(directory::Directory::open(place, paths, remote)?))
}

/// Whether a file begins as an export does: with the number 1.
fn is_export(file: &Path) -> Result<bool, Error> {
    let mut start = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(8).read_to_end(&mut start));
    read.map_err(|source| Error::io(file, source))?;
    Ok(start == 1u64.to_le_bytes())
}

/// The tree of a directory outside any store.
pub fn directory_listing(path: &Path) -> Result<Node<()>, Error> {
    directory::listing(path)
}

/// The NAR of a directory outside any store.
pub fn open_directory_nar(path: &Path) -> Result<Box<dyn BufRead + Send>, Error> {
    Ok(Box::new(directory::open_nar(path)?))
}

/// Hash and length of the NAR of a directory outside any store.
pub fn hash_directory(path: &Path) -> Result<([u8; 32], u64), Error> {
    let mut reader = crate::stream::hash::Hashing::new(directory::open_nar(path)?, u64::MAX - 1);
    let size = io::copy(&mut reader, &mut io::sink()).map_err(|source| Error::io(path, source))?;
    Ok((reader.digest(), size))
}
