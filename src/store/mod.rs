//! Where store paths are and how they are packed.
//!
//! A store hands out NARs only, whatever it is made of: one path for all contents, each byte checked against its
//! NarHash on the way to the medium, and no metadata of the host (owner, time, attributes, case) can leak.

use crate::format::store_path::StorePath;
use crate::tree::Node;
use std::io::BufRead;

/// What a store knows of a path without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// The path.
    pub path: StorePath,
    /// SHA-256 of the NAR.
    pub nar_hash: [u8; 32],
    /// Length of the NAR in bytes; at least 1.
    pub nar_size: u64,
    /// The paths it refers to, itself included where it does, sorted.
    pub references: Vec<StorePath>,
    /// The derivation that made it.
    pub deriver: Option<StorePath>,
    /// Signatures, `NAME:BASE64` each, in the order of the store.
    pub signatures: Vec<String>,
    /// How the path was computed, for a content-addressed one: `fixed:r:sha256:...`.
    pub content_address: Option<String>,
}

/// A place that has store paths.
pub trait Store: Send + Sync {
    /// Names the store in messages: its path or URL.
    fn name(&self) -> String;

    /// What is known of a path, or `None` when the store does not have it.
    fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, Error>;

    /// The NAR of a path that `path_info` gave. Its length and hash are not checked here.
    fn open_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, Error>;

    /// The tree of a path with the length of each file, where the store knows it without reading contents.
    fn listing(&self, path: &StorePath) -> Result<Option<Node<()>>, Error>;
}

/// A store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {}
