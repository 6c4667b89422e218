//! Who knows the hashes and references of paths that lie in a directory.

use super::database::Database;
use crate::format::nix::store_path::StorePath;
use crate::format::nix::{path_info, registration};
use crate::ints;
use crate::store::daemon::Daemon;
use crate::store::error::Error;
use crate::store::interface::{PathInfo, Store};
use crate::store::remote::progress::Remote;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The longest list of paths that is read, in bytes.
const MAX_LIST: u64 = 256 << 20;

/// Hashes and references.
pub enum Knowledge {
    /// Nix's database.
    Database(Database),
    /// A daemon, where the database cannot be read.
    Daemon(Box<Daemon>),
    /// A registration or the output of `nix path-info --json`.
    Listed(BTreeMap<StorePath, PathInfo>),
}

impl Knowledge {
    /// That of the store in a directory: its database, else its daemon, else its database where nobody has it open.
    /// `None` when the directory has neither.
    pub fn of_store(place: &Path, remote: &Remote) -> Result<Option<Self>, Error> {
        let directory = place.join("nix/var/nix/db");
        let first = match Database::open(&directory) {
            Ok(database) => return Ok(Some(Self::Database(database))),
            Err(error) => error,
        };
        // Nobody can help with a store that is another one.
        if matches!(first, Error::Mismatch { .. }) {
            return Err(first);
        }
        if let Ok(daemon) = Daemon::of_store(place, remote) {
            return Ok(Some(Self::Daemon(Box::new(daemon))));
        }
        match first {
            Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => Ok(None),
            Error::Database { .. } => Database::open_unused(&directory).map(|db| Some(Self::Database(db))),
            error => Err(error),
        }
    }

    /// That of a file: a registration, or JSON.
    pub fn of_file(file: &Path) -> Result<Self, Error> {
        let opened = File::open(file).map_err(|source| Error::io(file, source))?;
        let mut bytes = Vec::new();
        opened.take(MAX_LIST + 1).read_to_end(&mut bytes).map_err(|source| Error::io(file, source))?;
        let name = file.display().to_string();
        if ints::to_u64(bytes.len()) > MAX_LIST {
            let message = format!("is longer than {MAX_LIST} bytes");
            return Err(Error::File { path: name, message });
        }
        let infos: Vec<PathInfo> = match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'[' | b'{') => {
                path_info::parse(&bytes).map_err(|source| Error::PathInfo { path: name, source })?
            }
            _ => {
                let text = std::str::from_utf8(&bytes);
                let message = "is no registration, no path-info --json, no export: it is not text".to_owned();
                let text = text.map_err(|_| Error::File { path: name.clone(), message })?;
                let records = registration::parse(text);
                let records = records.map_err(|source| Error::Registration { path: name, source })?;
                records.into_iter().map(info).collect()
            }
        };
        Ok(Self::Listed(infos.into_iter().map(|info| (info.path.clone(), info)).collect()))
    }

    /// One of the paths, where that is known without asking.
    pub fn example(&self) -> Option<&StorePath> {
        match self {
            Self::Listed(known) => known.keys().next(),
            Self::Database(_) | Self::Daemon(_) => None,
        }
    }

    /// What is known of paths.
    pub fn find(&self, paths: &[StorePath]) -> Result<Vec<Option<PathInfo>>, Error> {
        match self {
            Self::Database(database) => paths.iter().map(|path| database.find(path)).collect(),
            Self::Daemon(daemon) => daemon.path_infos(paths),
            Self::Listed(known) => Ok(paths.iter().map(|path| known.get(path).cloned()).collect()),
        }
    }

    /// Every path, sorted.
    pub fn names(&self) -> Result<Vec<StorePath>, Error> {
        let mut paths = match self {
            Self::Database(database) => database.paths()?,
            Self::Daemon(daemon) => daemon.names()?,
            Self::Listed(known) => known.keys().cloned().collect(),
        };
        paths.sort();
        Ok(paths)
    }
}

fn info(record: registration::Record) -> PathInfo {
    let registration::Record { path, nar_hash, nar_size, deriver, references } = record;
    PathInfo { path, nar_hash, nar_size, references, deriver, signatures: Vec::new(), content_address: None }
}
