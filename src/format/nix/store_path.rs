//! Store paths and Nix's base 32.
//!
//! ```text
//! /nix/store/ HASH - NAME        HASH: 32 characters of base 32 (160 bits); NAME: 1 to 211 of [A-Za-z0-9+._?=-]
//! ```
//! Source: Nix `src/libstore/path.cc` (`checkName`), `src/libutil/base-nix-32.cc`.

use std::fmt;

/// The store directory that closures for NixOS are built for, without a slash at the end.
pub const STORE_DIR: &str = "/nix/store";

const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
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
            && bytes[..HASH_LEN].iter().all(|b| ALPHABET.contains(b))
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

/// Encodes bytes in Nix's base 32: least significant five bits last.
#[must_use]
pub fn to_base32(bytes: &[u8]) -> String {
    let len = (bytes.len() * 8).div_ceil(5);
    let digit = |n: usize| {
        let (byte, shift) = (n * 5 / 8, n * 5 % 8);
        let low = u16::from(bytes[byte]);
        let high = u16::from(bytes.get(byte + 1).copied().unwrap_or(0));
        char::from(ALPHABET[usize::from((low | high << 8) >> shift & 31)])
    };
    (0..len).rev().map(digit).collect()
}

/// Decodes Nix's base 32 into exactly `N` bytes; `None` when the length, a character or a surplus bit is wrong.
#[must_use]
pub fn from_base32<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != (N * 8).div_ceil(5) {
        return None;
    }
    let mut bytes = [0u8; N];
    for (n, c) in text.bytes().rev().enumerate() {
        let value = u16::try_from(ALPHABET.iter().position(|a| *a == c)?).ok()? << (n * 5 % 8);
        let [low, high] = value.to_le_bytes();
        let byte = n * 5 / 8;
        bytes[byte] |= low;
        match bytes.get_mut(byte + 1) {
            Some(next) => *next |= high,
            None if high != 0 => return None,
            None => {}
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_nix() {
        // `nix hash to-base32` of the SHA-256 of nothing.
        let empty = [
            0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
            0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
        ];
        let text = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";
        assert_eq!(to_base32(&empty), text);
        assert_eq!(from_base32::<32>(text), Some(empty));
        assert_eq!(from_base32::<32>(&text.replace("0mdq", "zmdq")), None, "bits beyond the last byte");
        assert_eq!(from_base32::<32>(&text.replace('c', "e")), None, "e is not a digit");
        assert_eq!(from_base32::<32>(""), None);
    }

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
