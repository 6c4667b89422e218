//! The configuration that a system was made of, put where `nixos-rebuild` on the card looks for it.
//!
//! It is a tree of its own, so that one who boots the card can change it: owned by root, 0644 and 0755, with the time
//! of the image. Names, contents and the executable bit count; nothing else of the files given is kept.

use crate::base_n;
use crate::format::nix::{nar, nar_hash};
use crate::ints;
use crate::sizes;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The most bytes of all files.
pub const MAX_BYTES: u64 = 64 << 20;
/// The most files.
pub const MAX_FILES: usize = 20_000;
/// The most names in a path: those of a NAR.
const MAX_DEPTH: usize = nar::MAX_DEPTH - 1;
/// How many symlinks a path may lead over, as in Linux.
const MAX_SYMLINKS: u32 = 40;

/// A configuration cannot be embedded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A name cannot be on a card.
    #[error("{0:?} cannot be the path of a file of a configuration: {1}")]
    Path(String, &'static str),
    /// A symlink leads out.
    #[error("{path} is a symlink to {target}, which is not within the configuration")]
    Outside {
        /// The symlink.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// It is too large.
    #[error("the configuration has more than {0}")]
    TooLarge(String),
    /// The system itself puts something there.
    #[error(
        "{0} has an etc/nixos of its own, which would hide the configuration; leave out --config or the system's environment.etc"
    )]
    Managed(String),
}

/// One file of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File {
        /// Whether it is executable.
        executable: bool,
        /// Its contents.
        bytes: Vec<u8>,
    },
    /// A symlink with its target.
    Symlink(String),
}

/// Where a configuration is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// The commit, or a word of the user's.
    pub name: String,
    /// Whether the files are others than those of the commit.
    pub is_dirty: bool,
}

impl Revision {
    /// As `configurationRevision` writes it.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.is_dirty { format!("{}-dirty", self.name) } else { self.name.clone() }
    }
}

/// Who may read an embedded configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody, as is usual for `/etc/nixos`.
    #[default]
    Everyone,
    /// Root alone.
    Root,
}

/// A configuration to embed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    entries: BTreeMap<String, Entry>,
    /// Length of all contents and targets.
    pub(crate) bytes: u64,
    /// Its revision, where it is known.
    pub revision: Option<Revision>,
    /// Who may read it.
    pub access: Access,
}

impl Configuration {
    /// Adds a file; `path` is relative, with slashes.
    pub fn add(&mut self, path: &str, entry: Entry) -> Result<(), Refused> {
        ensure_path(path)?;
        let len = match &entry {
            Entry::File { bytes, .. } => ints::to_u64(bytes.len()),
            Entry::Symlink(target) => ints::to_u64(target.len()),
        };
        self.bytes = self.bytes.saturating_add(len);
        if self.bytes > MAX_BYTES {
            return Err(Refused::TooLarge(sizes::show_bytes(MAX_BYTES)));
        }
        self.entries.insert(path.to_owned(), entry);
        if self.entries.len() > MAX_FILES {
            return Err(Refused::TooLarge(format!("{MAX_FILES} files")));
        }
        Ok(())
    }

    /// Its files, in order of their paths.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// How many files it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Checks that no symlink leads out of it. One that leads nowhere may.
    pub fn ensure_closed(&self) -> Result<(), Refused> {
        for (path, entry) in &self.entries {
            if let Entry::Symlink(target) = entry
                && !self.stays_inside(path)
            {
                return Err(Refused::Outside { path: path.clone(), target: target.clone() });
            }
        }
        Ok(())
    }

    /// Follows a path over every symlink on the way.
    fn stays_inside(&self, path: &str) -> bool {
        let mut rest: Vec<&str> = names(path).rev().collect();
        let (mut done, mut links) = (Vec::new(), 0);
        while let Some(name) = rest.pop() {
            if name == ".." {
                if done.pop().is_none() {
                    return false;
                }
                continue;
            }
            done.push(name);
            let Some(Entry::Symlink(target)) = self.entries.get(&done.join("/")) else { continue };
            links += 1;
            if links > MAX_SYMLINKS || target.starts_with('/') {
                return false;
            }
            done.pop();
            rest.extend(names(target).rev());
        }
        true
    }

    pub(crate) fn list(&self) -> Vec<String> {
        match self.access {
            Access::Root => Vec::new(),
            Access::Everyone => self.entries.iter().map(|(path, entry)| line(path, entry)).collect(),
        }
    }
}

/// A line for one file of a configuration.
fn line(path: &str, entry: &Entry) -> String {
    let (mode, bytes) = match entry {
        Entry::File { executable: false, bytes } => ("100644", &bytes[..]),
        Entry::File { executable: true, bytes } => ("100755", &bytes[..]),
        Entry::Symlink(target) => ("120000", target.as_bytes()),
    };
    format!("{mode} {} {path}", base_n::to_base16(&Sha256::digest(bytes)))
}

/// A configuration on its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its directory on the root.
    pub path: &'static str,
    /// The hash of the directory's NAR.
    pub nar_hash: [u8; 32],
    /// How many files it has.
    pub files: usize,
    /// Their length in bytes.
    pub bytes: u64,
    /// Each with its mode as git writes it and the SHA-256 of contents or target: `MODE SHA256 PATH`. Nothing of a
    /// private one, whose words a digest would help to guess.
    pub list: Vec<String>,
    /// Its revision.
    pub revision: Option<Revision>,
    /// Who may read it.
    pub access: Access,
}

impl serde::Serialize for Placed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = serializer.serialize_struct("Configuration", 7)?;
        object.serialize_field("path", self.path)?;
        object.serialize_field("narHash", &nar_hash::show(&self.nar_hash))?;
        object.serialize_field("files", &self.files)?;
        object.serialize_field("bytes", &self.bytes)?;
        object.serialize_field("revision", &self.revision.as_ref().map(|revision| &revision.name))?;
        object.serialize_field("dirty", &self.revision.as_ref().map(|revision| revision.is_dirty))?;
        object.serialize_field("private", &(self.access == Access::Root))?;
        object.end()
    }
}

impl Placed {
    /// What the user should know: the system is of another revision, or its `/etc` cannot be written.
    pub(crate) fn doubt(&self, system: Option<&str>) -> Option<String> {
        let revision = self.revision.as_ref().map(Revision::shown)?;
        let system = system.filter(|system| *system != revision)?;
        Some(format!(
            "the system was built from the revision {system}, the configuration that is embedded is of {revision}"
        ))
    }
}

fn names(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".")
}

fn ensure_path(path: &str) -> Result<(), Refused> {
    let refused = |why| Err(Refused::Path(path.to_owned(), why));
    if path.split('/').count() > MAX_DEPTH {
        return refused("it is too deep");
    }
    for name in path.split('/') {
        match name {
            "" | "." | ".." => return refused("it has an empty name, . or .."),
            ".git" => return refused("it is of git's own"),
            _ if name.contains('\0') => return refused("it has a zero byte"),
            _ if ints::to_u64(name.len()) > nar::MAX_NAME => {
                return refused("it has a name of more than 255 bytes");
            }
            _ => {}
        }
    }
    Ok(())
}
