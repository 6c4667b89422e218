//! A Nix channel, as a list of what was built for it.
//!
//! ```text
//! CHANNEL/store-paths.xz      every store path that was built, one a line, of all platforms
//! CHANNEL/binary-cache-url    the cache that has them
//! ```
//! Source: nixos-channel-scripts, `mirror-nixos-branch.pl`; <https://channels.nixos.org/nixos-unstable>.

use super::error::Error;
use super::remote::progress::Remote;
use crate::format::nix::store_path::StorePath;
use crate::ints;
use crate::stream::decompress::Compression;
use crate::stream::hash::Hashing;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Where channels are that are given by name.
const CHANNELS: &str = "https://channels.nixos.org";
/// The longest listing that is read, packed and unpacked, in bytes: those of 2025 have 8 MB and 25 MB.
const MAX_PACKED: u64 = 128 << 20;
const MAX_TEXT: u64 = 1 << 30;
/// The longest line, in bytes: a store path has at most 255.
const MAX_LINE: u64 = 1024;
/// The longest address of a cache, in bytes.
const MAX_ADDRESS: u64 = 4096;
/// More paths than this do not match the names of a few packages.
const MAX_MATCHES: usize = 1000;

/// A channel.
pub struct Channel {
    address: String,
    remote: Remote,
}

/// What a channel has of what was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The SHA-256 of the listing's file.
    pub sha256: [u8; 32],
    /// The paths whose names were wanted, in order, none twice.
    pub paths: Vec<StorePath>,
}

impl Channel {
    /// A channel by its name, such as `nixos-25.11`, or by its address.
    pub fn new(words: &str, remote: &Remote) -> Result<Self, Error> {
        let words = words.trim_end_matches('/');
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let address = if words.starts_with("https://") || words.starts_with("http://") {
            words.to_owned()
        } else if !words.is_empty() && words.bytes().all(is_name) && !words.starts_with('.') {
            format!("{CHANNELS}/{words}")
        } else {
            let message = "expected a name such as nixos-25.11, or an http(s) address".to_owned();
            return Err(Error::NoStore { place: format!("channel {words:?}"), message });
        };
        Ok(Self { address, remote: remote.clone() })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How its cache is to be opened.
    #[must_use]
    pub const fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The paths whose names (after the hash) are wanted.
    pub fn listing(&self, wanted: &dyn Fn(&str) -> bool) -> Result<Listing, Error> {
        let address = format!("{}/store-paths.xz", self.address);
        let packed = BufReader::new(self.open(&address)?);
        let mut hashing = Hashing::new(packed, MAX_PACKED);
        let paths = Compression::Xz
            .open(Box::new(&mut hashing))
            .and_then(|text| matching(text, wanted))
            .map_err(|error| unreadable(&address, error))?;
        // The decoder stops at its end; the hash is of the whole file.
        io::copy(&mut hashing, &mut io::sink()).map_err(|error| unreadable(&address, error))?;
        if hashing.consumed() > MAX_PACKED {
            let message = format!("is longer than {MAX_PACKED} bytes");
            return Err(Error::File { path: address, message });
        }
        Ok(Listing { sha256: hashing.digest(), paths })
    }

    /// The address of the cache that has its paths.
    pub fn cache(&self) -> Result<String, Error> {
        let address = format!("{}/binary-cache-url", self.address);
        let mut text = String::new();
        let read = self.open(&address)?.take(MAX_ADDRESS).read_to_string(&mut text);
        read.map_err(|error| unreadable(&address, error))?;
        let cache = text.trim().trim_end_matches('/');
        // Who asked for https does not get http, nor a file of this machine.
        let plain = cache.starts_with("http://") && self.address.starts_with("http://");
        let is_one_word = cache.bytes().all(|b| b.is_ascii_graphic());
        if is_one_word && (plain || cache.starts_with("https://")) {
            return Ok(cache.to_owned());
        }
        let (expected, found) = ("an https address".to_owned(), format!("{cache:?}"));
        Err(Error::Mismatch { path: address, what: "the cache", expected, found })
    }

    fn open(&self, address: &str) -> Result<impl Read + Send + use<>, Error> {
        let failed = |source| Error::Http { address: address.to_owned(), source };
        self.remote.client.get(address).map_err(failed)
    }
}

/// Damage is the channel's; anything else is the way to it.
fn unreadable(address: &str, error: io::Error) -> Error {
    if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) {
        return Error::File { path: address.to_owned(), message: error.to_string() };
    }
    Error::io(Path::new(address), error)
}

/// Reads lines and keeps the paths whose names are wanted.
fn matching(text: impl BufRead, wanted: &dyn Fn(&str) -> bool) -> io::Result<Vec<StorePath>> {
    let bad = |number: u64, what: String| {
        io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {what}"))
    };
    let mut text = text.take(MAX_TEXT);
    let (mut paths, mut line, mut number) = (Vec::new(), Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        if (&mut text).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let is_last = ints::to_u64(line.len()) < MAX_LINE && text.limit() > 0;
        if !line.ends_with(b"\n") && !is_last {
            return Err(bad(number, "too long for a listing of store paths".to_owned()));
        }
        let path = String::from_utf8_lossy(line.trim_ascii());
        if path.is_empty() {
            continue;
        }
        let path = StorePath::from_absolute(&path).map_err(|error| bad(number, error.to_string()))?;
        if wanted(path.name()) {
            paths.push(path);
        }
        if paths.len() > MAX_MATCHES {
            return Err(bad(number, format!("more than {MAX_MATCHES} paths with names of firmware")));
        }
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_of_a_listing_are_those_wanted_in_order_and_once() {
        let path = |hash: char, name: &str| format!("/nix/store/{}-{name}\n", hash.to_string().repeat(32));
        let text = [path('b', "uboot-1"), path('a', "hello"), path('a', "uboot-1"), path('a', "uboot-1")];
        let found = matching(text.concat().as_bytes(), &|name| name.starts_with("uboot")).unwrap();
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, [path('a', "uboot-1").trim_end(), path('b', "uboot-1").trim_end()]);
        assert_eq!(matching(text.concat().trim_end().as_bytes(), &|name| name == "hello").unwrap().len(), 1);
        for (text, expected) in [
            ("<html>\n".to_owned(), "line 1: \"<html>\" is not in /nix/store"),
            (format!("{}{}", path('a', "x"), "/nix/store/short\n"), "line 2"),
            ("x".repeat(5000), "too long"),
        ] {
            let error = matching(text.as_bytes(), &|_| true).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let many: String = (0..2000).map(|n| path('a', &format!("n{n}"))).collect();
        assert!(matching(many.as_bytes(), &|_| true).unwrap_err().to_string().contains("more than 1000"));
    }
}
