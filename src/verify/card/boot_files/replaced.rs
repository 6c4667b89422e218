//! What `nixflash firmware` has put onto a card since it was composed: its record on the FAT has the digests.
//!
//! No signature is over that record. It counts for what an update of firmware may touch, and never silently: whoever
//! reads the verdict is told that firmware was replaced, with what, and that only the record says so.

use super::known::{Known, fold};
use crate::base_n;
use crate::board;
use crate::board::Board;
use crate::format::disk::fat;
use crate::format::file::json;
use crate::verify::card::findings::{Findings, Unsigned};
use crate::verify::card::manifest::Manifest;
use crate::verify::card::place::Place;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Where the record is on the FAT.
pub const RECORD: &str = "/nixflash-firmware.json";
/// The longest, in bytes.
const MAX_LEN: u64 = 4 << 20;
/// What boot loaders' builders keep on a FAT: no update of firmware writes these.
const OF_BUILDERS: [&str; 5] = ["/loader/", "/efi/nixos/", "/extlinux/", "/boot/", "/nixos/"];
/// What an update never removes.
const KEPT: [&str; 2] = ["/config.txt", crate::verify::card::manifest::FAT];

/// The record of an update.
pub struct Replaced {
    /// The partition that it is on.
    partition: u32,
    files: BTreeMap<String, Known>,
    /// What it took away, or an update before it.
    removed: BTreeSet<String>,
    /// What did it: the version of nixflash.
    by: Option<String>,
    /// Where the files are from.
    packages: Vec<String>,
}

impl Replaced {
    /// Reads the record of the first FAT that has one.
    pub fn read(places: &[Place<'_>], manifest: &Manifest, findings: &mut Findings) -> Option<Self> {
        // A profile of the user's is not known here: then only the places count.
        let board = manifest.text("board").and_then(|name| board::find(name).ok());
        let fats = places.iter().filter(|place| place.root().is_none());
        for place in fats {
            let read = match place.read(RECORD, MAX_LEN) {
                Ok(Some(bytes)) => json::parse(&bytes).map_err(|error| error.to_string()),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match read.and_then(|value| Self::of(place.number, &value, board.as_ref())) {
                Ok(record) => return Some(record),
                Err(why) => findings.bad(RECORD, &why),
            }
        }
        None
    }

    fn of(partition: u32, value: &Value, board: Option<&Board>) -> Result<Self, String> {
        if value["schema"].as_str() != Some("nixflash-firmware/1") {
            return Err("it is no record of nixflash-firmware/1".to_owned());
        }
        let mut files = BTreeMap::new();
        for file in value["files"].as_array().ok_or("it lists no files")? {
            let one = || Some((fold(file["path"].as_str()?, false), Known::of(file)?));
            let (path, known) = one().ok_or("a file in it lacks path, size or sha256")?;
            if OF_BUILDERS.iter().any(|directory| path.starts_with(directory)) {
                return Err(format!("it names {path}, which no update of firmware writes"));
            }
            if let Some(board) = board.filter(|board| !is_of(board, &path, &known)) {
                return Err(format!(
                    "it names {path}, which no update of the firmware of {} writes",
                    board.name
                ));
            }
            files.insert(path, known);
        }
        let removed = value["removed"].as_array().map(Vec::as_slice).unwrap_or_default();
        let removed = removed.iter().filter_map(|path| Some(fold(path.as_str()?, false))).collect();
        let package = |(key, value): (&String, &Value)| {
            let from = ["path", "narHash"].iter().find_map(|key| value[*key].as_str());
            format!("{key} {}", from.unwrap_or("of an unknown place"))
        };
        let packages = value["firmware"].as_object().into_iter().flatten().map(package).collect();
        let by = value["nixflash"].as_str().map(str::to_owned);
        Ok(Self { partition, files, removed, by, packages })
    }

    /// What is known once the record is laid over the manifest.
    pub fn over(&self, composed: &BTreeMap<(u32, String), Known>) -> BTreeMap<(u32, String), Known> {
        let mut known = composed.clone();
        known.extend(self.files.iter().map(|(path, file)| ((self.partition, path.clone()), file.clone())));
        known
    }

    /// Whether the update may have removed a file of the manifest.
    pub fn may_lack(&self, partition: u32, path: &str) -> bool {
        let is_kept = KEPT.contains(&path) || OF_BUILDERS.iter().any(|directory| path.starts_with(directory));
        partition == self.partition && !is_kept && self.removed.contains(path)
    }

    /// Says that firmware was replaced, unless all is as it was composed.
    pub fn tell(
        &self,
        composed: &BTreeMap<(u32, String), Known>,
        known: &BTreeMap<(u32, String), Known>,
        places: &[Place<'_>],
        findings: &mut Findings,
    ) {
        let of_fat = |files: &BTreeMap<(u32, String), Known>| -> BTreeMap<String, Known> {
            let own = files.iter().filter(|((number, _), _)| *number == self.partition);
            own.map(|((_, path), file)| (path.clone(), file.clone())).collect()
        };
        let (before, after) = (of_fat(composed), of_fat(known));
        let fat = places.iter().find(|place| place.number == self.partition);
        let is_gone = |path: &str| {
            self.may_lack(self.partition, path) && fat.is_some_and(|fat| fat.len_of(path).is_none())
        };
        let added = after.keys().filter(|path| !before.contains_key(*path)).count();
        let replaced = before.iter().filter(|(path, file)| after.get(*path) != Some(file)).count();
        let removed = before.keys().filter(|path| is_gone(path)).count();
        if added + replaced + removed == 0 {
            return;
        }
        let by = self.by.as_deref().unwrap_or("of an unknown version");
        let from = match &self.packages[..] {
            [] => String::new(),
            packages => format!(", from {}", packages.join(", ")),
        };
        let what = format!(
            "firmware was replaced by nixflash {by}: {replaced} files replaced, {added} added, {removed} removed{from}; only {RECORD} says so, which nobody signs"
        );
        // Not `since`: a card may be updated before it is ever booted.
        match findings.unsigned.firmware {
            Unsigned::Refused => findings.replaced(RECORD, &what),
            Unsigned::Allowed => findings.note(what),
        }
    }
}

/// Whether an update of a board's firmware writes a file: one that its profile brings, or its own config.txt.
fn is_of(board: &Board, folded: &str, known: &Known) -> bool {
    let own = board.config_txt.as_ref().filter(|_| folded == "/config.txt");
    if let Some(text) = own {
        return known.is(&base_n::to_base16(&Sha256::digest(text.as_bytes())));
    }
    let path = fat::fold(folded);
    board.files.iter().any(|rule| rule.could_put(&path, |_| true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_the_record_says_was_removed_may_be_missing() {
        let record = json!({
            "schema": "nixflash-firmware/1",
            "files": [{ "path": "/start4.elf", "size": 1, "sha256": "00" }],
            "removed": ["/Old.dtb", "/config.txt"],
        });
        let record = Replaced::of(1, &record, None).unwrap();
        assert!(record.may_lack(1, "/old.dtb"));
        for (partition, path) in
            [(2, "/old.dtb"), (1, "/start4.elf"), (1, "/bootcode.bin"), (1, "/config.txt"), (1, "/loader/x")]
        {
            assert!(!record.may_lack(partition, path), "{partition} {path}");
        }
    }
}
