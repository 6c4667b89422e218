//! The stream of `nix-store --export`: archives, each followed by what it is.
//!
//! ```text
//! stream  = { number(1) archive trailer } number(0)
//! trailer = number(0x4558494e) path references:strs deriver:str ( number(0) | number(1) signature:str )
//! ```
//! Source: Nix `src/libstore/export-import.cc`. There are no hashes and no lengths: both are those of the archive.

use super::store_path::StorePath;
use super::wire;
use super::wire::Error;
use std::io::Read;

/// `NIXE`, little-endian.
const MAGIC: u64 = 0x4558_494e;
/// Bytes of the references of one path: 10,000 of them.
const REFERENCES: u64 = 2 << 20;
/// Bytes of a signature, which nobody makes any more.
const SIGNATURE: u64 = 64 << 10;

/// What an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// The store path that the rest is said of.
    pub path: StorePath,
    /// References, sorted.
    pub references: Vec<StorePath>,
    /// The derivation that built it, where that is known.
    pub deriver: Option<StorePath>,
}

/// Whether another archive follows.
pub fn another(from: &mut impl Read) -> Result<bool, Error> {
    match wire::number(from, "the word before an archive")? {
        0 => Ok(false),
        1 => Ok(true),
        other => {
            let expected = "1 or 0: an export of nix-store --export";
            Err(Error::value("the word before an archive", expected, &format!("{other:#x}")))
        }
    }
}

/// Reads what stands behind an archive.
pub fn trailer(from: &mut impl Read) -> Result<Trailer, Error> {
    let magic = wire::number(from, "the word behind an archive")?;
    if magic != MAGIC {
        let expected = "0x4558494e: an export of nix-store --export";
        return Err(Error::value("the word behind an archive", expected, &format!("{magic:#x}")));
    }
    let path = wire::path(from, "a store path")?;
    let references = wire::paths(from, "a reference", REFERENCES)?;
    let deriver = wire::optional_path(from, "a derivation")?;
    if wire::number(from, "the word before a signature")? != 0 {
        wire::bytes(from, "a signature", SIGNATURE)?;
    }
    Ok(Trailer { path, references, deriver })
}
