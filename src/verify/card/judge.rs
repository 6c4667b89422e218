//! The card is judged, from its table to the files of its store.

use super::boot_files;
use super::configuration;
use super::error::Error;
use super::findings::{Allowed, Findings};
use super::manifest::Manifest;
use super::outside;
use super::part::{How, Part, Shared};
use super::place;
use super::rest;
use super::signed;
use super::signed::Signed;
use super::store::{self, profile, registry, systems};
use super::tables;
use super::verdict::Content;
use super::verdict::Verdict;
use crate::format::disk::ext4::read::Ext4;
use crate::format::disk::partition_table;
use crate::format::disk::partition_table::Reading;
use crate::format::disk::partition_table::Span;
use crate::verify::card::store::registry::Signatures;
use std::sync::atomic::Ordering;

/// Judges a card or an image.
pub fn content(disk: Shared<'_>, how: &How<'_>) -> Result<Content, Error> {
    content_allowing(disk, how, Allowed::default())
}

/// Judges a card or an image, on which some things may be unsigned.
pub fn content_allowing(disk: Shared<'_>, how: &How<'_>, unsigned: Allowed) -> Result<Content, Error> {
    let reading = partition_table::read(&disk).map_err(|error| Error::Read(error.source))?;
    let has_keys = !how.signers.is_empty();
    let mut findings = Findings { has_keys, unsigned, ..Findings::default() };
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
    tables::check(disk, &reading, is_bare.then_some(()), &manifest, &places, &mut findings);
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
    let mut boot_files = boot_files::check(&places, ext4, &manifest, &systems, &mut findings);
    if !is_bare {
        boot_files += outside::check(disk, &reading, &manifest, how, &mut findings)?;
    }
    configuration::check(ext4, &manifest, how, &mut findings)?;
    rest::check(ext4, &manifest, how, &mut findings)?;
    let signatures = registry.signatures;
    Ok(conclude(findings, &manifest, Sums { paths, bytes, boot_files, signatures, signed, not_ours }))
}

/// Where file systems may be: in the partitions, or all over what has no table.
pub(crate) fn spans(reading: &Reading, len: u64) -> Vec<Span> {
    let spans = reading.places();
    if spans.is_empty() { vec![Span { number: 0, start: 0, len }] } else { spans }
}

/// What was counted.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) paths: u64,
    pub(super) bytes: u64,
    pub(super) boot_files: u64,
    pub(super) signatures: Signatures,
    pub(super) signed: Signed,
    pub(super) not_ours: Option<String>,
}
pub(super) fn conclude(findings: Findings, manifest: &Manifest, sums: Sums) -> Content {
    let Findings { damaged, changed, not_listed, not_judged, .. } = findings;
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
        not_judged,
    }
}

/// What the superblock says of the life of the file system.
pub(super) fn state(ext4: &Ext4<Part<'_>>, findings: &mut Findings) {
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
