//! `<hash>.narinfo`: what a binary cache says of a store path.
//!
//! ```text
//! Key: value LF          each line; unknown keys are ignored, known ones but Sig may occur once
//! ```
//! Source: Nix `src/libstore/nar-info.cc`.

use super::nar_hash;
use super::store_path::StorePath;

/// How the NAR is compressed, as the field says; never judged by a suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarInfo {
    /// The store path that the rest is said of.
    pub path: StorePath,
    /// Where the NAR is, relative to the cache or absolute.
    pub url: String,
    /// The word for the compression; `bzip2` where the field is absent.
    pub compression: String,
    /// SHA-256 of the compressed file.
    pub file_hash: Option<[u8; 32]>,
    /// Length of the compressed file.
    pub file_size: Option<u64>,
    /// SHA-256 of the NAR.
    pub nar_hash: [u8; 32],
    /// Length of the NAR.
    pub nar_size: u64,
    /// References, sorted.
    pub references: Vec<StorePath>,
    /// The derivation that built it, where that is known.
    pub deriver: Option<StorePath>,
    /// Signatures, in order.
    pub signatures: Vec<String>,
    /// For a content-addressed path.
    pub content_address: Option<String>,
}

/// A narinfo is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line has no key, or the last one no end.
    #[error("line {line} is not `Key: value`")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// A field occurs twice.
    #[error("{0} occurs twice")]
    Twice(&'static str),
    /// A field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field cannot be used.
    #[error("{key} is {value:?}, expected {expected}")]
    Value {
        /// The field of the narinfo, as it is spelled there.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it should.
        expected: &'static str,
    },
}

#[derive(Default)]
struct Fields<'a> {
    single: std::collections::BTreeMap<&'static str, &'a str>,
    signatures: Vec<String>,
}

const KEYS: [&str; 10] = [
    "StorePath",
    "URL",
    "Compression",
    "FileHash",
    "FileSize",
    "NarHash",
    "NarSize",
    "References",
    "Deriver",
    "CA",
];

impl NarInfo {
    /// Parses a narinfo.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fields = Fields::parse(text)?;
        let nar_size = number("NarSize", fields.need("NarSize")?)?;
        if nar_size == 0 || nar_size > 1 << 50 {
            return Err(value("NarSize", &nar_size.to_string(), "a length between 1 and 2^50"));
        }
        let mut references = Vec::new();
        for base in fields.get("References").unwrap_or_default().split_ascii_whitespace() {
            references.push(base_name("References", base)?);
        }
        references.sort();
        references.dedup();
        let deriver = fields.get("Deriver").filter(|text| !text.is_empty() && *text != "unknown-deriver");
        let url = fields.need("URL")?;
        if url.is_empty() || url.chars().any(char::is_control) {
            return Err(value("URL", url, "a file name or URL"));
        }
        Ok(Self {
            path: absolute("StorePath", fields.need("StorePath")?)?,
            url: url.to_owned(),
            compression: fields
                .get("Compression")
                .filter(|text| !text.is_empty())
                .unwrap_or("bzip2")
                .to_owned(),
            file_hash: fields.get("FileHash").map(|text| hash("FileHash", text)).transpose()?,
            file_size: fields
                .get("FileSize")
                .map(|text| number("FileSize", text))
                .transpose()?
                .filter(|size| *size > 0),
            nar_hash: hash("NarHash", fields.need("NarHash")?)?,
            nar_size,
            references,
            deriver: deriver.map(|text| base_name("Deriver", text)).transpose()?,
            content_address: fields.get("CA").filter(|text| !text.is_empty()).map(str::to_owned),
            signatures: fields.signatures,
        })
    }
}

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self, Error> {
        let mut fields = Self::default();
        for (line, content) in (1..).zip(text.split_inclusive('\n')) {
            let content = content.strip_suffix('\n').ok_or(Error::Line { line })?;
            let (key, value) = content
                .split_once(": ")
                .or_else(|| Some((content.strip_suffix(':')?, "")))
                .ok_or(Error::Line { line })?;
            if key == "Sig" {
                fields.signatures.push(value.to_owned());
            }
            let Some(known) = KEYS.iter().find(|known| **known == key) else { continue };
            if fields.single.insert(known, value).is_some() {
                return Err(Error::Twice(known));
            }
        }
        Ok(fields)
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.single.get(key).copied()
    }

    fn need(&self, key: &'static str) -> Result<&'a str, Error> {
        self.get(key).ok_or(Error::Missing(key))
    }
}

fn value(key: &'static str, value: &str, expected: &'static str) -> Error {
    Error::Value { key, value: value.chars().take(200).collect(), expected }
}

fn number(key: &'static str, text: &str) -> Result<u64, Error> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| value(key, text, "a number"))
}

fn hash(key: &'static str, text: &str) -> Result<[u8; 32], Error> {
    nar_hash::parse(text).ok_or_else(|| value(key, text, "a SHA-256 hash"))
}

fn absolute(key: &'static str, text: &str) -> Result<StorePath, Error> {
    StorePath::from_absolute(text).map_err(|_| value(key, text, "a path in /nix/store"))
}

fn base_name(key: &'static str, text: &str) -> Result<StorePath, Error> {
    StorePath::from_base_name(text).map_err(|_| value(key, text, "names of store paths"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
StorePath: /nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x
URL: nar/a.nar.xz
Compression: xz
FileHash: sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73
FileSize: 5
NarHash: sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73
NarSize: 120
References: 
Deriver: unknown-deriver
System: aarch64-linux
Sig: a:b
Sig: c:d
";

    #[test]
    fn a_narinfo_parses() {
        let info = NarInfo::parse(GOOD).unwrap();
        assert_eq!((info.nar_size, info.file_size, &info.compression[..]), (120, Some(5), "xz"));
        assert_eq!((info.deriver, info.references.len()), (None, 0));
        assert_eq!(info.signatures, ["a:b", "c:d"]);
        let bare = GOOD.replace("Compression: xz\n", "").replace("FileSize: 5\n", "");
        assert_eq!(NarInfo::parse(&bare).unwrap().compression, "bzip2");
    }

    #[test]
    fn each_fault_is_named() {
        for (from, to, expected) in [
            ("NarSize: 120\n", "", "NarSize is missing"),
            ("NarSize: 120", "NarSize: 0", "NarSize is \"0\""),
            ("NarSize: 120", "NarSize: -1", "NarSize is \"-1\""),
            ("NarSize: 120", "NarSize: 99999999999999999999", "NarSize is"),
            ("NarSize: 120", "NarSize: 120\nNarSize: 121", "NarSize occurs twice"),
            ("URL: nar/a.nar.xz", "URL: ", "URL is \"\""),
            ("StorePath: /nix", "StorePath: /gnu", "StorePath is"),
            ("References: ", "References: ../../etc", "References is"),
            ("Sig: c:d\n", "Sig: c:d", "line 12 is not"),
            ("System: aarch64-linux", "<html>", "line 10 is not"),
            ("NarSize: 120\n", "NarSize: 120\r\n", "NarSize is \"120\\r\""),
        ] {
            let message = NarInfo::parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}, expected {expected}");
        }
    }
}
