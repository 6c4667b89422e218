//! Whether what is on a card is what its own database and manifest say: no image at hand, perhaps after months of use.
//!
//! The NAR hash of every registered store path is computed again from the blocks of the ext4, boot files are compared
//! with the manifest, tables, labels, links and attributes with what was written. What a running system changes is told
//! apart from damage: new store paths and generations with their boot entries, a journal, logs, times. A card that no
//! system has mounted has none of that, so there it is damage too.

mod added;
mod boot_files;
mod configuration;
mod error;
mod findings;
pub(crate) mod judge;
mod manifest;
mod outside;
mod part;
pub(super) mod place;
mod rest;
mod signed;
pub(super) mod store;
mod tables;
pub(crate) mod verdict;

pub use error::Error;
pub use findings::{Allowed, Unsigned};
pub use part::{How, Shared};
pub use signed::Signed;
pub use store::registry::Signatures;

pub(super) use findings::Findings;
pub(super) use manifest::{FAT as FAT_MANIFEST, Manifest};

pub(super) use judge::spans;
pub use judge::{content, content_allowing};
pub use verdict::{Content, Verdict};
