//! `registration` of nixpkgs' closureInfo, the output of `nix-store --dump-db`: paths with hashes and references.
//!
//! ```text
//! PATH LF HASH LF NARSIZE LF [DERIVER] LF COUNT LF (REFERENCE LF) * COUNT
//! ```
//! The hash is base 16 without a prefix, or any form with one. Source: Nix `src/libstore/store-api.cc`
//! (`decodeValidPathInfo`). There is no place for signatures.

use super::nar_hash;
use super::store_path::StorePath;

/// What is registered of one store path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The store path that the rest is said of.
    pub path: StorePath,
    /// SHA-256 of the NAR.
    pub nar_hash: [u8; 32],
    /// Length of the NAR.
    pub nar_size: u64,
    /// The derivation that built it, where that is known.
    pub deriver: Option<StorePath>,
    /// References, sorted.
    pub references: Vec<StorePath>,
}

/// A registration is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Error {
    /// Counted from 1.
    pub line: usize,
    /// What was expected and found.
    pub message: String,
}

/// Parses all records.
pub fn parse(text: &str) -> Result<Vec<Record>, Error> {
    let mut lines = Lines { lines: text.lines(), line: 0 };
    let mut records = Vec::new();
    while let Some(first) = lines.lines.next() {
        lines.line += 1;
        records.push(lines.record(first)?);
    }
    Ok(records)
}

struct Lines<'a> {
    lines: std::str::Lines<'a>,
    line: usize,
}

impl<'a> Lines<'a> {
    fn record(&mut self, first: &str) -> Result<Record, Error> {
        let path = self.path(first)?;
        let hash = self.next("the hash of the NAR")?;
        let nar_hash =
            nar_hash::parse(hash).ok_or_else(|| self.wrong(format!("{hash:?} is not a SHA-256 hash")))?;
        let nar_size = self.number("the length of the NAR")?;
        if nar_size == 0 || nar_size > 1 << 50 {
            return Err(self.wrong(format!("a NAR of {nar_size} bytes, expected 1 to 2^50")));
        }
        let deriver = match self.next("the derivation")? {
            "" => None,
            text => Some(self.path(text)?),
        };
        let count = self.number("the number of references")?;
        let mut references = Vec::new();
        for _ in 0..count {
            let text = self.next("a reference")?;
            references.push(self.path(text)?);
        }
        references.sort();
        references.dedup();
        Ok(Record { path, nar_hash, nar_size, deriver, references })
    }

    fn next(&mut self, what: &str) -> Result<&'a str, Error> {
        self.line += 1;
        self.lines.next().ok_or_else(|| self.wrong(format!("the text ends where {what} was expected")))
    }

    fn number(&mut self, what: &str) -> Result<u64, Error> {
        let text = self.next(what)?;
        text.parse().map_err(|_| self.wrong(format!("{text:?} is not a number, expected {what}")))
    }

    fn path(&self, text: &str) -> Result<StorePath, Error> {
        StorePath::from_absolute(text).map_err(|error| self.wrong(error.to_string()))
    }

    fn wrong(&self, message: String) -> Error {
        Error { line: self.line, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x\n\
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n120\n\n1\n\
        /nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x\n";

    #[test]
    fn records_parse_and_a_cut_is_named() {
        let records = parse(&[GOOD, GOOD].concat()).unwrap();
        assert_eq!((records.len(), records[0].nar_size, records[1].references.len()), (2, 120, 1));
        for (cut, expected) in [
            (1, "line 2: the text ends where the hash"),
            (4, "line 5: the text ends"),
            (5, "line 6: the text ends where a reference"),
        ] {
            let text: String = GOOD.split_inclusive('\n').take(cut).collect();
            assert!(parse(&text).unwrap_err().to_string().contains(expected));
        }
        assert!(
            parse(&GOOD.replace("120", "0")).unwrap_err().to_string().contains("line 3: a NAR of 0 bytes")
        );
        assert!(parse(&GOOD.replace("e3b0", "e3bz")).is_err());
    }
}
