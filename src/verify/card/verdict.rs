//! What a card was found to be.

use super::signed::Signed;
use crate::verify::card::store::registry::Signatures;

/// What a card turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it was written.
    Intact,
    /// All that was written is intact; the system has gone on since.
    Changed,
    /// Something is not what it should be.
    Damaged,
    /// There is a NixOS whose store is as registered, but nothing says that nixflash made it, or none of the keys that
    /// the user trusts has signed it.
    NotOurs,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The verdict.
    pub verdict: Verdict,
    /// The toplevel that the manifest names.
    pub toplevel: Option<String>,
    /// What composed it, as the manifest says: board, version of nixflash.
    pub made_for: Option<String>,
    /// Store paths that were hashed.
    pub paths: u64,
    /// Bytes of their NARs.
    pub bytes: u64,
    /// Boot files that are as the manifest has them, boot loaders outside of partitions among them.
    pub boot_files: u64,
    /// Who has signed the store paths.
    pub signatures: Signatures,
    /// Who has signed the manifest.
    pub signed: Signed,
    /// Why it is not ours although there is a manifest.
    pub not_ours: Option<String>,
    /// What is wrong: a path, and how.
    pub damaged: Vec<(String, String)>,
    /// What has changed since, in words.
    pub changed: Vec<String>,
    /// What was not judged, in words: what "intact" says nothing of.
    pub not_judged: Vec<String>,
    /// How many more places of both kinds there are.
    pub not_listed: u64,
}
