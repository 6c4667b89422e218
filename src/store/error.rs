//! Why a store cannot give what is asked for.

use super::daemon_error;
use crate::format::nix::database as nix_db;
use crate::format::nix::nar;
use crate::format::nix::nar_hash;
use crate::format::nix::narinfo;
use crate::format::nix::path_info;
use crate::format::nix::registration;
use crate::format::nix::store_path::StorePath;
use crate::format::nix::wire;
use crate::net;
use std::io;
use std::path::Path;

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
        source: daemon_error::Error,
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
            Self::Daemon { source: daemon_error::Error::Endless, .. } => true,
            Self::Daemon { source: daemon_error::Error::Wire(inner), .. } => !inner.is_broken_stream(),
            Self::Daemon { .. } => false,
            Self::Export { source: wire::Error::Read { source, .. }, .. } => source.raw_os_error().is_none(),
            // Decoders report damage as errors of input.
            Self::Nar { source: nar::Error::Read { source, .. }, .. } => source.raw_os_error().is_none(),
            _ => true,
        }
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), source }
    }

    pub(super) fn nar(path: &StorePath, source: nar::Error) -> Self {
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

    pub(super) fn hash(path: &StorePath, what: &'static str, expected: &[u8; 32], found: &[u8; 32]) -> Self {
        Self::Mismatch {
            path: path.to_string(),
            what,
            expected: nar_hash::show(expected),
            found: nar_hash::show(found),
        }
    }
}
