//! Paths that are the address of one file's contents: `text:` and `fixed:` without `r:`.
//!
//! The hash in such an address is that of the file. A NarHash says nothing about it, so the file is hashed as well while
//! its NAR is read: `header(96 bytes, the last 8 the length) contents padding ")"`.

use crate::format::nix::nar::Framing;
use crate::format::nix::nar_hash;
use crate::ints;
use crate::store::error::Error;
use crate::store::interface::PathInfo;
use sha2::{Digest, Sha256};

/// Bytes before the contents in the NAR of a file that is not executable.
const HEADER: usize = 96;

/// Hashes the one file of a NAR.
pub struct Flat {
    expected: [u8; 32],
    header: Vec<u8>,
    /// Bytes of the contents that are still to come.
    left: u64,
    sha256: Sha256,
}

/// The hash of one file that an address names, where it is a SHA-256.
pub fn hash_of(address: &str) -> Option<[u8; 32]> {
    let hash = address.strip_prefix("text:").or_else(|| address.strip_prefix("fixed:"))?;
    nar_hash::parse(hash.strip_prefix("sha256").and(Some(hash))?)
}

impl Flat {
    /// What a path's NAR has to be checked for besides its hash, if anything.
    pub fn of(info: &PathInfo) -> Option<Self> {
        let expected = hash_of(info.content_address.as_deref()?)?;
        Some(Self { expected, header: Vec::with_capacity(HEADER), left: 0, sha256: Sha256::new() })
    }

    /// Takes the bytes that come next.
    pub fn see(&mut self, mut bytes: &[u8]) {
        let missing = HEADER - self.header.len();
        if missing > 0 {
            let (header, rest) = bytes.split_at(missing.min(bytes.len()));
            self.header.extend_from_slice(header);
            bytes = rest;
            if let Some(len) = self.header.get(HEADER - 8..HEADER) {
                // cannot fail: a slice of 8 bytes
                self.left = len.try_into().map_or(0, u64::from_le_bytes);
            }
        }
        let len = self.left.min(ints::to_u64(bytes.len()));
        self.sha256.update(&bytes[..ints::to_usize(len)]);
        self.left -= len;
    }

    /// Compares what was seen with the address; the NAR is known to be one.
    pub fn verify(self, info: &PathInfo) -> Result<(), Error> {
        let mut expected = Vec::new();
        Framing::start(&mut expected);
        Framing::file(&mut expected, false, 0);
        if self.header.get(..HEADER - 8) != expected.get(..HEADER - 8) {
            let expected = "a file that is not executable".to_owned();
            return Err(Error::Mismatch {
                path: info.path.to_string(),
                what: "what its content address is of",
                expected,
                found: "something else".to_owned(),
            });
        }
        let found = self.sha256.finalize().into();
        if found == self.expected {
            return Ok(());
        }
        Err(Error::hash(&info.path, "the hash of its contents", &self.expected, &found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::nix::store_path::StorePath;
    use crate::store::verified_nar::{Verified, verify};
    use std::io::Read;

    fn nar(executable: bool, contents: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Framing::start(&mut out);
        Framing::file(&mut out, executable, ints::to_u64(contents.len()));
        out.extend_from_slice(contents);
        Framing::file_end(&mut out, ints::to_u64(contents.len()));
        out
    }

    fn check(nar: &[u8], address: &str) -> Result<(), Error> {
        let info = PathInfo {
            path: StorePath::from_base_name("3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x").unwrap(),
            nar_hash: Sha256::digest(nar).into(),
            nar_size: ints::to_u64(nar.len()),
            references: Vec::new(),
            deriver: None,
            signatures: Vec::new(),
            content_address: Some(address.to_owned()),
        };
        // A byte at a time, and all at once.
        for capacity in [1, 100, 4096] {
            let mut read = Verified::new(std::io::BufReader::with_capacity(capacity, nar), &info);
            read.read_to_end(&mut Vec::new()).unwrap();
            verify(read, &info)?;
        }
        Ok(())
    }

    #[test]
    fn the_file_itself_is_what_an_address_is_of() {
        for contents in [&b""[..], b"text", &[7; 5000]] {
            let right = nar_hash::show(&Sha256::digest(contents).into());
            let wrong = nar_hash::show(&Sha256::digest(b"other").into());
            for prefix in ["text:", "fixed:"] {
                check(&nar(false, contents), &format!("{prefix}{right}")).unwrap();
                let error =
                    check(&nar(false, contents), &format!("{prefix}{wrong}")).unwrap_err().to_string();
                assert!(error.contains("the hash of its contents is sha256:"), "{error}");
                let error = check(&nar(true, contents), &format!("{prefix}{right}")).unwrap_err().to_string();
                assert!(error.contains("expected a file that is not executable"), "{error}");
            }
            check(&nar(true, contents), &format!("fixed:r:{wrong}")).unwrap();
        }
    }
}
