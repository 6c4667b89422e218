//! Store paths.
//!
//! ```text
//! /nix/store/ HASH - NAME        HASH: 32 characters of base 32 (160 bits); NAME: 1 to 211 of [A-Za-z0-9+._?=-]
//! ```
//! Source: Nix `src/libstore/path.cc` (`checkName`).

use crate::base_n::NIX_BASE32;
use std::fmt;

/// The store directory that closures for NixOS are built for, without a slash at the end.
pub const STORE_DIR: &str = "/nix/store";

const HASH_LEN: usize = 32;
const NAME_MAX: usize = 211;

/// A valid store path, kept as its base name `HASH-NAME`. Sorts as the full path does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StorePath(Box<str>);

/// A string is not a store path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is in another directory.
    #[error("{0:?} is not in {STORE_DIR}")]
    OtherDirectory(String),
    /// The base name has no hash part.
    #[error("{0:?} does not begin with 32 characters of Nix's base 32 and a dash")]
    Hash(String),
    /// The name part is empty, too long, or has a forbidden character.
    #[error("{0:?}: the name after the hash must be 1 to {NAME_MAX} of A-Z a-z 0-9 + - . _ ? =")]
    Name(String),
}

impl StorePath {
    /// Parses `HASH-NAME`.
    pub fn from_base_name(base: &str) -> Result<Self, Error> {
        let bytes = base.as_bytes();
        let hash_ok = bytes.len() > HASH_LEN
            && bytes[..HASH_LEN].iter().all(|b| NIX_BASE32.as_bytes().contains(b))
            && bytes[HASH_LEN] == b'-';
        if !hash_ok {
            return Err(Error::Hash(base.to_owned()));
        }
        let name = &bytes[HASH_LEN + 1..];
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"+-._?=".contains(b);
        // Nix refuses ".", "..", and those followed by a dash.
        let dots = name == b"." || name == b".." || name.starts_with(b".-") || name.starts_with(b"..-");
        if name.is_empty() || name.len() > NAME_MAX || !name.iter().all(allowed) || dots {
            return Err(Error::Name(base.to_owned()));
        }
        Ok(Self(base.into()))
    }

    /// Parses `/nix/store/HASH-NAME`.
    pub fn from_absolute(path: &str) -> Result<Self, Error> {
        let base = path.strip_prefix(STORE_DIR).and_then(|rest| rest.strip_prefix('/'));
        Self::from_base_name(base.ok_or_else(|| Error::OtherDirectory(path.to_owned()))?)
    }

    /// Splits an absolute path at or below a store path, such as a symlink target, into the store path and the rest,
    /// which is empty or begins with a slash.
    pub fn split(path: &str) -> Result<(Self, &str), Error> {
        let base = path.strip_prefix(STORE_DIR).and_then(|rest| rest.strip_prefix('/'));
        let base = base.ok_or_else(|| Error::OtherDirectory(path.to_owned()))?;
        let end = base.find('/').unwrap_or(base.len());
        Ok((Self::from_base_name(&base[..end])?, &base[end..]))
    }

    /// `HASH-NAME`.
    #[must_use]
    pub fn base_name(&self) -> &str {
        &self.0
    }

    /// The 32 characters of the hash: the name of its narinfo.
    #[must_use]
    pub fn hash_part(&self) -> &str {
        &self.0[..HASH_LEN]
    }

    /// What follows the hash and the dash.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0[HASH_LEN + 1..]
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE_DIR}/{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_store_paths_parse() {
        let good = "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-nixos-system-testbed-25.11.small";
        let path = StorePath::from_absolute(good).unwrap();
        assert_eq!(path.to_string(), good);
        assert_eq!(path.name(), "nixos-system-testbed-25.11.small");
        assert_eq!(StorePath::split(&format!("{good}/init")).unwrap(), (path, "/init"));
        for bad in [
            "/nix/store",
            "/nix/store/",
            "/gnu/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x",
            "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3",
            "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-",
            "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-..",
            "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-a/b",
            "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsige3-x",
            "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-é",
        ] {
            assert!(StorePath::from_absolute(bad).is_err(), "{bad}");
        }
    }
}
