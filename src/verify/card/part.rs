//! What is judged, part by part, and how.

use super::error::Error;
use crate::format::disk::ext4::read as ext4_read;
use crate::format::file::minisign::PublicKey;
use crate::format::nix::store_path::STORE_DIR;
use crate::store::Keys;
use crate::stream::{ReadAt, Window};
use std::sync::atomic::{AtomicBool, Ordering};

/// How a card is judged.
pub struct How<'a> {
    /// Whose signatures count.
    pub keys: &'a Keys,
    /// One of these must have signed the manifest, where there are any.
    pub signers: &'a [PublicKey],
    /// Threads that hash.
    pub threads: usize,
    /// Set to stop.
    pub stop: &'a AtomicBool,
    /// Sees how far it has come, in bytes of NARs, of how many.
    pub seen: &'a dyn Fn(u64, u64),
}

impl How<'_> {
    pub(super) fn interrupted(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Something readable that several threads may read.
pub type Shared<'a> = &'a (dyn ReadAt + Sync);

/// A partition, or the whole image.
pub(super) type Part<'a> = Window<Shared<'a>>;

/// Whether an error means that the card is gone, which ends all; anything else is damage.
pub(super) fn gone(error: ext4_read::Error) -> Result<ext4_read::Error, Error> {
    match error {
        ext4_read::Error::Io { source, .. } if crate::device::read_back::scan::is_gone(&source) => {
            Err(Error::Read(source))
        }
        other => Ok(other),
    }
}

/// Text of a path below the store.
pub(super) fn in_store(name: &[u8]) -> String {
    format!("{STORE_DIR}/{}", String::from_utf8_lossy(name))
}
