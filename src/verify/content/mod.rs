//! Whether what is on a card is what its own database and manifest say: no image at hand, perhaps after months of use.
//!
//! The NAR hash of every registered store path is computed again from the blocks of the ext4, boot files are compared
//! with the manifest, tables, labels, links and attributes with what was written. What a running system changes is told
//! apart from damage: new store paths and generations with their boot entries, a journal, logs, times. A card that no
//! system has mounted has none of that, so there it is damage too.

mod boot;
mod configuration;
mod explain;
mod findings;
mod manifest;
mod nar;
mod outside;
pub(super) mod place;
mod profile;
pub(super) mod registry;
mod replaced;
mod rest;
mod signed;
mod store;
mod systems;
mod tables;

pub use registry::Signatures;
pub use signed::Signed;

use crate::format::disk::ext4::read as ext4_read;
use crate::format::disk::ext4::read::Ext4;
use crate::format::disk::partition_table;
use crate::format::disk::partition_table::{Reading, Span};
use crate::format::file::minisign::PublicKey;
use crate::format::nix::store_path::STORE_DIR;
use crate::store::Keys;
use crate::stream::{ReadAt, Window};
pub(super) use findings::Findings;
pub(super) use manifest::{FAT as FAT_MANIFEST, Manifest};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// How many more places of both kinds there are.
    pub not_listed: u64,
}

/// A card cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has no root of a NixOS.
    #[error("there is no NixOS on it: {0}")]
    NotOurs(String),
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(io::Error),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

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
    fn interrupted(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Something readable that several threads may read.
pub type Shared<'a> = &'a (dyn ReadAt + Sync);
/// A partition, or the whole image.
type Part<'a> = Window<Shared<'a>>;

/// Judges a card or an image.
pub fn content(disk: Shared<'_>, how: &How<'_>) -> Result<Content, Error> {
    let reading = partition_table::read(&disk).map_err(|error| Error::Read(error.source))?;
    let mut findings = Findings::default();
    let is_bare = reading.places().is_empty();
    let places = place::open(disk, &spans(&reading, disk.size()), &mut findings)?;
    let root = places.iter().find_map(|place| place.root());
    let manifest = Manifest::read(&places, &mut findings);
    let Some((number, ext4)) = root else {
        // What nixflash wrote a word on, or what is damaged, was a card once.
        if manifest.is_ours() || !findings.damaged.is_empty() {
            findings.bad("root", "there is no ext4 with a /nix/store that can be read");
            return Ok(conclude(findings, &manifest, Sums::default()));
        }
        return Err(Error::NotOurs("no ext4 with a /nix/store".to_owned()));
    };
    findings.is_used = ext4.superblock.mounted != 0 || ext4.superblock.mounts != 0;
    let (signed, not_ours) = signed::check(&places, &manifest, how.signers, &mut findings);
    tables::check(&reading, is_bare.then_some(()), &manifest, &places, &mut findings);
    state(ext4, &mut findings);
    if manifest.is_ours() && !ext4.superblock.features.iter().any(|feature| feature == "metadata_csum") {
        findings
            .edited("ext4", "its metadata have no checksums any more: what else was changed cannot be told");
    }
    let mut groups = ext4.groups();
    groups.check(&mut |error| {
        findings.bad(&format!("partition {number}"), &error.to_string());
        !how.stop.load(Ordering::Relaxed)
    });
    how.interrupted()?;
    let registry = registry::read(ext4, &manifest, how.keys, &mut findings)?;
    let (paths, bytes) = store::check(ext4, &registry, &manifest, how, &mut findings)?;
    let systems = systems::Systems::read(ext4, &registry, &mut findings);
    profile::check(ext4, &registry, &manifest, &systems, &mut findings);
    how.interrupted()?;
    let mut boot_files = boot::check(&places, ext4, &manifest, &systems, &mut findings);
    if !is_bare {
        boot_files += outside::check(disk, &reading, &manifest, how, &mut findings)?;
    }
    configuration::check(ext4, &manifest, how, &mut findings)?;
    rest::check(ext4, &manifest, how, &mut findings)?;
    let signatures = registry.signatures;
    Ok(conclude(findings, &manifest, Sums { paths, bytes, boot_files, signatures, signed, not_ours }))
}

/// Where file systems may be: in the partitions, or all over what has no table.
pub(super) fn spans(reading: &Reading, len: u64) -> Vec<Span> {
    let spans = reading.places();
    if spans.is_empty() { vec![Span { number: 0, start: 0, len }] } else { spans }
}

/// What was counted.
#[derive(Default)]
struct Sums {
    paths: u64,
    bytes: u64,
    boot_files: u64,
    signatures: Signatures,
    signed: Signed,
    not_ours: Option<String>,
}

fn conclude(findings: Findings, manifest: &Manifest, sums: Sums) -> Content {
    let Findings { damaged, changed, not_listed, .. } = findings;
    let is_ours = manifest.is_ours() && sums.not_ours.is_none();
    let verdict = match (damaged.is_empty(), is_ours, changed.is_empty()) {
        (false, ..) => Verdict::Damaged,
        (true, false, _) => Verdict::NotOurs,
        (true, true, false) => Verdict::Changed,
        (true, true, true) => Verdict::Intact,
    };
    let made_for = manifest.text("board").map(|board| match manifest.text("nixflash") {
        Some(version) => format!("{board} by nixflash {version}"),
        None => board.to_owned(),
    });
    let Sums { paths, bytes, boot_files, signatures, signed, not_ours } = sums;
    let toplevel = manifest.text("toplevel").map(str::to_owned);
    Content {
        verdict,
        toplevel,
        made_for,
        paths,
        bytes,
        boot_files,
        signatures,
        signed,
        not_ours,
        damaged,
        changed,
        not_listed,
    }
}

/// What the superblock says of the life of the file system.
fn state(ext4: &Ext4<Part<'_>>, findings: &mut Findings) {
    if ext4.superblock.needs_recovery {
        let count = ext4.replayed().transactions();
        findings
            .note(format!("it was not unmounted: its journal was replayed in memory ({count} transactions)"));
    } else if !ext4.superblock.clean {
        findings.since("it was not unmounted".to_owned());
    }
    if ext4.superblock.has_errors {
        findings.bad("ext4", "the kernel has found errors in it");
    }
    if findings.is_used {
        // E2fsck counts from 0 again.
        let times = match ext4.superblock.mounts {
            0 => String::new(),
            1 => ", once".to_owned(),
            count => format!(", {count} times"),
        };
        findings.since(format!("a system has mounted it{times}"));
    }
}

/// Whether an error means that the card is gone, which ends all; anything else is damage.
fn gone(error: ext4_read::Error) -> Result<ext4_read::Error, Error> {
    match error {
        ext4_read::Error::Io { source, .. } if crate::device::read_back::scan::is_gone(&source) => {
            Err(Error::Read(source))
        }
        other => Ok(other),
    }
}

/// Text of a path below the store.
fn in_store(name: &[u8]) -> String {
    format!("{STORE_DIR}/{}", String::from_utf8_lossy(name))
}
