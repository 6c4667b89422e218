//! Numbers and strings as Nix puts them on a wire: in its daemon protocol and in exports.
//!
//! ```text
//! number  = u64 little-endian
//! str     = length number | bytes | zeros to a multiple of 8
//! strs    = count number | str * count
//! ```
//! Source: Nix `src/libutil/serialise.cc`. A length is never believed: nothing is allocated before it was compared with
//! what may come.

use super::nar::padding_of;
use super::nar_hash;
use super::store_path::StorePath;
use crate::ints;
use std::io::{self, Read};

/// The longest store path on a wire, in bytes; more than any has, so that others are named.
const MAX_PATH: u64 = 4096;

/// Something else came than what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream failed, or ended.
    #[error("while reading {what}: {source}")]
    Read {
        /// What was read.
        what: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// A value is longer than it can be.
    #[error("{what} of {found}, expected at most {most}")]
    TooLong {
        /// What was read.
        what: &'static str,
        /// What it may have, in bytes or items.
        most: u64,
        /// What it says it has.
        found: u64,
    },
    /// A value is none that can be.
    #[error("{what} is {found}, expected {expected}")]
    Value {
        /// What was read.
        what: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

impl Error {
    /// A value other than the expected one; of a long one the beginning is shown.
    pub fn value(what: &'static str, expected: &'static str, found: &str) -> Self {
        let found = format!("{:?}", found.chars().take(200).collect::<String>());
        Self::Value { what, expected, found }
    }

    /// Whether the stream is at fault, and not what came through it.
    #[must_use]
    pub fn is_broken_stream(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() != io::ErrorKind::InvalidData)
    }
}

/// Reads a number.
pub fn number(from: &mut impl Read, what: &'static str) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes).map_err(|source| Error::Read { what, source: plain(source) })?;
    Ok(u64::from_le_bytes(bytes))
}

/// Shorter words for a plain end than the standard library has; whoever reads the stream may have better ones.
fn plain(source: io::Error) -> io::Error {
    if source.kind() == io::ErrorKind::UnexpectedEof && source.get_ref().is_none() {
        return io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ends");
    }
    source
}

/// Reads a string of at most `most` bytes.
pub fn bytes(from: &mut impl Read, what: &'static str, most: u64) -> Result<Vec<u8>, Error> {
    let len = number(from, what)?;
    if len > most {
        return Err(Error::TooLong { what, most, found: len });
    }
    let mut bytes = vec![0; ints::to_usize(len) + padding_of(len)];
    from.read_exact(&mut bytes).map_err(|source| Error::Read { what, source: plain(source) })?;
    if bytes[ints::to_usize(len)..].iter().any(|byte| *byte != 0) {
        return Err(Error::value(what, "zeros behind it", "something else"));
    }
    bytes.truncate(ints::to_usize(len));
    Ok(bytes)
}

/// Reads a string that must be text.
pub fn text(from: &mut impl Read, what: &'static str, most: u64) -> Result<String, Error> {
    String::from_utf8(bytes(from, what, most)?)
        .map_err(|error| Error::value(what, "text", &String::from_utf8_lossy(error.as_bytes())))
}

/// Reads strings, of at most `room` bytes with what each takes by being there.
pub fn texts(from: &mut impl Read, what: &'static str, room: u64) -> Result<Vec<String>, Error> {
    const EACH: u64 = 32;
    let count = number(from, what)?;
    if count > room / EACH {
        return Err(Error::TooLong { what, most: room / EACH, found: count });
    }
    let mut left = room;
    let mut texts = Vec::new();
    for _ in 0..count {
        let text = text(from, what, left)?;
        let taken = ints::to_u64(text.len()) + EACH;
        left = left.checked_sub(taken).ok_or(Error::TooLong { what, most: room, found: room + 1 })?;
        texts.push(text);
    }
    Ok(texts)
}

/// Turns text into a store path; one of another store directory is named.
pub fn store_path(what: &'static str, text: &str) -> Result<StorePath, Error> {
    StorePath::from_absolute(text).map_err(|_| Error::value(what, "a path in /nix/store", text))
}

/// Reads a store path.
pub fn path(from: &mut impl Read, what: &'static str) -> Result<StorePath, Error> {
    store_path(what, &text(from, what, MAX_PATH)?)
}

/// Reads a store path or nothing.
pub fn optional_path(from: &mut impl Read, what: &'static str) -> Result<Option<StorePath>, Error> {
    let text = text(from, what, MAX_PATH)?;
    if text.is_empty() { Ok(None) } else { store_path(what, &text).map(Some) }
}

/// Reads store paths, and sorts them.
pub fn paths(from: &mut impl Read, what: &'static str, room: u64) -> Result<Vec<StorePath>, Error> {
    let texts = texts(from, what, room)?;
    let mut paths = texts.iter().map(|text| store_path(what, text)).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Reads a SHA-256 in base 16 or any form with a prefix.
pub fn hash(from: &mut impl Read, what: &'static str) -> Result<[u8; 32], Error> {
    let text = text(from, what, 128)?;
    nar_hash::parse(&text).ok_or_else(|| Error::value(what, "a SHA-256 hash", &text))
}

/// Writes a number.
pub fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Writes a string.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = ints::to_u64(bytes.len());
    put_number(out, len);
    out.extend_from_slice(bytes);
    out.resize(out.len() + padding_of(len), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, ints::to_u64(texts.len()));
        texts.iter().for_each(|text| put_bytes(&mut out, text.as_bytes()));
        out
    }

    #[test]
    fn what_is_written_reads_back_and_every_cut_is_named() {
        let whole = strings(&["", "a", "12345678", "123456789"]);
        assert_eq!(texts(&mut &whole[..], "words", 1000).unwrap(), ["", "a", "12345678", "123456789"]);
        for cut in 0..whole.len() {
            let error = texts(&mut &whole[..cut], "words", 1000).unwrap_err();
            assert_eq!(error.to_string(), "while reading words: the stream ends", "{cut}");
            assert!(error.is_broken_stream());
        }
    }

    #[test]
    fn lengths_are_never_believed() {
        for len in [1u64 << 40, 1 << 63, u64::MAX - 7, u64::MAX] {
            let bytes_of = [len.to_le_bytes(), [1; 8]].concat();
            assert!(matches!(bytes(&mut &bytes_of[..], "it", 4096), Err(Error::TooLong { .. })), "{len}");
            assert!(matches!(texts(&mut &bytes_of[..], "it", 4096), Err(Error::TooLong { .. })), "{len}");
        }
        let many = strings(&["0123456789"; 100]);
        assert!(texts(&mut &many[..], "it", 4200).is_ok());
        assert!(matches!(texts(&mut &many[..], "it", 4199), Err(Error::TooLong { .. })));
    }

    #[test]
    fn padding_text_and_paths_are_checked() {
        let mut dirty = strings(&["a"]);
        dirty[23] = 1;
        assert_eq!(
            texts(&mut &dirty[..], "words", 99).unwrap_err().to_string(),
            "words is \"something else\", expected zeros behind it"
        );
        let mut bad = Vec::new();
        put_bytes(&mut bad, &[0xff, 0xfe]);
        assert!(text(&mut &bad[..], "it", 99).unwrap_err().to_string().contains("expected text"));
        let mut other = Vec::new();
        put_bytes(&mut other, b"/gnu/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x");
        assert_eq!(
            path(&mut &other[..], "a path").unwrap_err().to_string(),
            "a path is \"/gnu/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x\", expected a path in /nix/store"
        );
    }
}
