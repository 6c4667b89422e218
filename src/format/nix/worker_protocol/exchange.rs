//! What a client says, and the answers to it.

use super::version::{NEWEST, OLDEST, Version};
use crate::format::nix::database::Row;
use crate::format::nix::store_path::StorePath;
use crate::format::nix::wire::{self, Error, put_bytes, put_number};
use std::io::Read;

const MAGIC_1: u64 = 0x6e69_7863;
const MAGIC_2: u64 = 0x6478_696f;

const QUERY_ALL_VALID_PATHS: u64 = 23;
const QUERY_PATH_INFO: u64 = 26;
const NAR_FROM_PATH: u64 = 38;

/// Bytes of the references of one path: 10,000 of them.
const REFERENCES: u64 = 2 << 20;
/// Bytes of the signatures of one path.
const SIGNATURES: u64 = 64 << 10;
/// Bytes of the names of all paths of a store: half a million.
const ALL_PATHS: u64 = 64 << 20;

/// What a client begins with.
#[must_use]
pub fn hello() -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, MAGIC_1);
    put_number(&mut out, 1 << 8 | NEWEST.0);
    out
}

/// Reads how the daemon begins: the version that both speak.
pub fn hello_of_daemon(from: &mut impl Read) -> Result<Version, Error> {
    let magic = wire::number(from, "the greeting of a Nix daemon")?;
    if magic != MAGIC_2 {
        let found = String::from_utf8_lossy(&magic.to_le_bytes()).into_owned();
        return Err(Error::value(
            "the greeting of a Nix daemon",
            "\"oixd\" (a shell may print nothing before it)",
            &found,
        ));
    }
    let version = wire::number(from, "the version of the protocol")?;
    let (major, minor) = (version >> 8, Version(version & 0xff));
    if major != 1 || minor < OLDEST {
        let found = format!("{major}.{}", minor.0);
        return Err(Error::value("the version of the protocol", "1.21 or a later 1.x", &found));
    }
    Ok(minor.min(NEWEST))
}

/// What a client says next, and whether something has to be read before: lists of features are exchanged.
#[must_use]
pub fn settings(version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    if version >= Version::FEATURES {
        // None is needed.
        put_number(&mut out, 0);
    }
    // Which processor to run on, and whether to reserve space: both without meaning today.
    put_number(&mut out, 0);
    put_number(&mut out, 0);
    out
}

/// Reads what the daemon answers to [`settings`]; messages follow.
pub fn settings_of_daemon(from: &mut impl Read, version: Version) -> Result<(), Error> {
    if version >= Version::FEATURES {
        wire::texts(from, "the features of the daemon", 64 << 10)?;
    }
    if version >= Version::NIX {
        wire::text(from, "the version of Nix", 1024)?;
    }
    if version >= Version::TRUST {
        wire::number(from, "whether the daemon trusts its client")?;
    }
    Ok(())
}

fn request(operation: u64, path: Option<&StorePath>) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, operation);
    if let Some(path) = path {
        put_bytes(&mut out, path.to_string().as_bytes());
    }
    out
}

/// Asks what is known of a path.
#[must_use]
pub fn query_path_info(path: &StorePath) -> Vec<u8> {
    request(QUERY_PATH_INFO, Some(path))
}

/// Asks for the archive of a path.
#[must_use]
pub fn nar_from_path(path: &StorePath) -> Vec<u8> {
    request(NAR_FROM_PATH, Some(path))
}

/// Asks for the names of all paths.
#[must_use]
pub fn query_all_valid_paths() -> Vec<u8> {
    request(QUERY_ALL_VALID_PATHS, None)
}

/// Reads the result of [`query_path_info`]; `None` when the path is not valid.
pub fn path_info(from: &mut impl Read, path: &StorePath) -> Result<Option<Row>, Error> {
    match wire::number(from, "whether a path is valid")? {
        0 => return Ok(None),
        1 => {}
        other => return Err(Error::value("whether a path is valid", "0 or 1", &other.to_string())),
    }
    valid_path(from, path.clone()).map(Some)
}

fn valid_path(from: &mut impl Read, path: StorePath) -> Result<Row, Error> {
    let deriver = wire::optional_path(from, "a derivation")?;
    let nar_hash = wire::hash(from, "a NarHash")?;
    let references = wire::paths(from, "a reference", REFERENCES)?;
    wire::number(from, "the time of registration")?;
    let nar_size = wire::number(from, "a NarSize")?;
    if nar_size == 0 || nar_size > 1 << 50 {
        return Err(Error::value("a NarSize", "1 to 2^50", &nar_size.to_string()));
    }
    wire::number(from, "whether a path was built there")?;
    let signatures = wire::texts(from, "a signature", SIGNATURES)?;
    let content_address = Some(wire::text(from, "a content address", 4096)?).filter(|text| !text.is_empty());
    Ok(Row { path, nar_hash, nar_size, references, deriver, signatures, content_address })
}

/// Reads the result of [`query_all_valid_paths`].
pub fn all_valid_paths(from: &mut impl Read) -> Result<Vec<StorePath>, Error> {
    wire::paths(from, "a store path", ALL_PATHS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar";
    const HASH: &str = "15e3c560894cbb27085cf65b5a2ecb18488c999497f4531b6907a7581ce6d527";

    fn put_texts(out: &mut Vec<u8>, texts: &[&str]) {
        put_number(out, crate::ints::to_u64(texts.len()));
        texts.iter().for_each(|text| put_bytes(out, text.as_bytes()));
    }

    #[test]
    fn what_a_daemon_knows_of_a_path_is_read_and_each_cut_is_an_error() {
        let mut whole = Vec::new();
        put_number(&mut whole, 1);
        put_bytes(&mut whole, format!("{PATH}.drv").as_bytes());
        put_bytes(&mut whole, HASH.as_bytes());
        put_texts(&mut whole, &[PATH, "/nix/store/01w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo"]);
        [23423, 34878, 1].iter().for_each(|number| put_number(&mut whole, *number));
        put_texts(&mut whole, &["a:b", "c:d"]);
        put_bytes(&mut whole, b"fixed:r:sha256:x");
        let path = StorePath::from_absolute(PATH).unwrap();
        let row = path_info(&mut &whole[..], &path).unwrap().unwrap();
        assert_eq!((row.nar_size, crate::base_n::to_base16(&row.nar_hash)), (34878, HASH.to_owned()));
        assert_eq!(row.references.iter().map(StorePath::name).collect::<Vec<_>>(), ["foo", "bar"]);
        assert_eq!((row.deriver.unwrap().name(), row.signatures.len()), ("bar.drv", 2));
        assert_eq!(row.content_address.unwrap(), "fixed:r:sha256:x");
        for cut in 0..whole.len() {
            assert!(path_info(&mut &whole[..cut], &path).unwrap_err().is_broken_stream(), "{cut}");
        }
        assert_eq!(path_info(&mut &0u64.to_le_bytes()[..], &path).unwrap(), None);
    }

    #[test]
    fn only_a_daemon_greets() {
        let daemon = |magic: u64, version: u64| [magic.to_le_bytes(), version.to_le_bytes()].concat();
        let greet = |bytes: &[u8]| hello_of_daemon(&mut &bytes[..]);
        assert_eq!(greet(&daemon(MAGIC_2, 0x115)).unwrap(), Version(21));
        assert_eq!(greet(&daemon(MAGIC_2, 0x1ff)).unwrap(), NEWEST);
        for (bytes, expected) in [
            (b"Welcome to Debian".to_vec(), "is \"Welcome \""),
            (daemon(MAGIC_2, 0x114), "is \"1.20\", expected 1.21"),
            (daemon(MAGIC_2, 0x226), "is \"2.38\""),
            (daemon(MAGIC_2, u64::MAX), "expected 1.21"),
            (daemon(MAGIC_2, 0x126)[..12].to_vec(), "the stream ends"),
        ] {
            let error = greet(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
