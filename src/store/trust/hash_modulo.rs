//! The hash of a NAR that names its own path, as content addresses of such paths have it.
//!
//! Each place of the own hash part (32 characters) counts as 32 zero bytes, and behind the NAR comes `|OFFSET` in decimal
//! for each of them. Source: Nix `src/libstore/references.cc`, `RewritingSink` and `HashModuloSink`.

use crate::format::nix::nar_hash;
use crate::ints;
use crate::store::error::Error;
use crate::store::interface::PathInfo;
use sha2::{Digest, Sha256};

/// Length of the hash part of a path.
const PART: usize = 32;

/// Hashes a NAR without what it says of itself.
pub struct Modulo {
    expected: [u8; 32],
    own: Vec<u8>,
    /// Bytes that may begin the own hash part, which ends in what comes next; fewer than [`PART`].
    held: Vec<u8>,
    /// Bytes that were hashed.
    hashed: u64,
    places: Vec<u64>,
    sha256: Sha256,
}

impl Modulo {
    /// What a path's NAR has to be checked for besides its hash: its address, where it refers to itself.
    pub fn of(info: &PathInfo) -> Option<Self> {
        let address = info.content_address.as_deref()?.strip_prefix("fixed:r:")?;
        let expected = nar_hash::parse(address.strip_prefix("sha256").and(Some(address))?)?;
        info.references.contains(&info.path).then(|| Self {
            expected,
            own: info.path.hash_part().as_bytes().to_vec(),
            held: Vec::new(),
            hashed: 0,
            places: Vec::new(),
            sha256: Sha256::new(),
        })
    }

    /// Takes the bytes that come next.
    pub fn see(&mut self, bytes: &[u8]) {
        let mut window = std::mem::take(&mut self.held);
        window.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(found) = window[at..].windows(PART).position(|part| part == self.own) {
            self.take(&window[at..at + found]);
            self.places.push(self.hashed);
            self.take(&[0; PART]);
            at += found + PART;
        }
        let rest = &window[at..];
        let done = rest.len().saturating_sub(PART - 1);
        self.take(&rest[..done]);
        self.held = rest[done..].to_vec();
    }

    fn take(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.hashed += ints::to_u64(bytes.len());
    }

    /// Compares what was seen with the address.
    pub fn verify(mut self, info: &PathInfo) -> Result<(), Error> {
        let held = std::mem::take(&mut self.held);
        self.take(&held);
        for place in &self.places {
            self.sha256.update(format!("|{place}"));
        }
        let found = self.sha256.finalize().into();
        if found == self.expected {
            return Ok(());
        }
        Err(Error::hash(&info.path, "the hash of its contents without its own path", &self.expected, &found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::nix::store_path::StorePath;

    #[test]
    fn the_own_path_is_left_out_wherever_pieces_end() {
        let path = StorePath::from_base_name("3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x").unwrap();
        let own = path.hash_part().to_owned();
        let text = format!("a{own}bc{}{own}{own}d", &own[..31]);
        let plain = text.replace(&own, &"\0".repeat(32));
        // The piece without its last character and the own name's first make the name up: it begins at 35, and what is
        // left of the one behind it is text.
        let offsets = [1, 35, 98];
        let suffix: String = offsets.iter().map(|at| format!("|{at}")).collect();
        let expected: [u8; 32] = Sha256::digest(format!("{plain}{suffix}")).into();
        let mut info = PathInfo {
            path: path.clone(),
            nar_hash: [0; 32],
            nar_size: 0,
            references: vec![path],
            deriver: None,
            signatures: Vec::new(),
            content_address: Some(format!("fixed:r:{}", nar_hash::show(&expected))),
        };
        for piece in [1, 7, 31, 32, 33, 1000] {
            let mut modulo = Modulo::of(&info).unwrap();
            text.as_bytes().chunks(piece).for_each(|chunk| modulo.see(chunk));
            modulo.verify(&info).unwrap();
            let mut other = Modulo::of(&info).unwrap();
            text.replace('d', "e").as_bytes().chunks(piece).for_each(|chunk| other.see(chunk));
            assert!(other.verify(&info).is_err(), "{piece}");
        }
        info.references.clear();
        assert!(Modulo::of(&info).is_none(), "what does not refer to itself has its NarHash");
    }
}
