//! Partition table, labels and identifiers, held against the manifest.

use super::added;
use super::findings::Findings;
use super::manifest::Manifest;
use super::part::Shared;
use super::place::{Place, System};
use crate::format::disk::fat::read;
use crate::format::disk::partition_table::{Problem, Reading, Table};
use serde_json::Value;

/// The attribute of a GPT that means what the active flag of an MBR does.
const LEGACY_BOOT: u64 = 1 << 2;

/// One partition as it is.
struct Found {
    number: u64,
    start: u64,
    len: u64,
    kind: String,
    partuuid: String,
    name: Option<String>,
    is_active: bool,
    /// Attributes of a GPT but for the one that is the active flag; the byte of the flag in an MBR but for its bit.
    attributes: u64,
}

/// Compares the table and what the file systems are called. A root alone, without a table, has no more than its own.
#[expect(
    clippy::too_many_arguments,
    reason = "the facts of one card; a struct for one caller would only rename them"
)]
pub fn check(
    disk: Shared<'_>,
    reading: &Reading,
    bare: Option<()>,
    manifest: &Manifest,
    places: &[Place<'_>],
    findings: &mut Findings,
) {
    for problem in &reading.problems {
        match problem {
            Problem::BackupElsewhere { .. } => findings.note(problem.to_string()),
            _ => findings.bad("partition table", &problem.to_string()),
        }
    }
    if bare.is_some() {
        let what = "there is no partition table: the root alone was judged";
        if findings.has_keys && !manifest.list("partitions").is_empty() {
            // Firmware would read what it takes the whole disk for.
            findings.bad("partition table", "there is none, and the manifest has one");
        } else {
            findings.note(what.to_owned());
        }
    } else {
        table(reading, manifest, findings);
        added::check(disk, reading, manifest, places, findings);
        file_systems(places, manifest, findings);
    }
    for place in places {
        labels(place, manifest, findings);
        form(place, manifest, findings);
    }
}

fn table(reading: &Reading, manifest: &Manifest, findings: &mut Findings) {
    let what = "partition table";
    let mut differs = |name: &str, found: &str, wanted: &Value| {
        if !wanted.is_null() && wanted.as_str() != Some(found) {
            findings.bad(what, &format!("{name} is {found:?}, expected {wanted}"));
        }
    };
    let partitions = found(reading);
    let (disk, wanted) = (disk(reading), manifest.at(&["identifiers", "disk"]));
    differs("its identifier", &disk, wanted.unwrap_or(&Value::Null));
    let uuids = manifest.at(&["identifiers", "partitions"]).and_then(Value::as_array);
    for (at, uuid) in uuids.into_iter().flatten().enumerate() {
        let number = crate::ints::to_u64(at) + 1;
        let found = partitions.iter().find(|partition| partition.number == number);
        let partuuid = found.map_or("", |partition| &partition.partuuid);
        differs(&format!("PARTUUID of partition {number}"), partuuid, uuid);
    }
    let listed = manifest.list("partitions");
    let last = listed.last().and_then(|partition| partition.get("number")?.as_u64());
    for wanted in listed {
        let Some(number) = wanted.get("number").and_then(Value::as_u64) else { continue };
        let Some(found) = partitions.iter().find(|partition| partition.number == number) else {
            findings.bad(what, &format!("partition {number} is missing"));
            continue;
        };
        place(found, wanted, last == Some(number), findings);
    }
}

/// Each partition has the file system that was made on it: one whose first sector is gone is none that is known.
fn file_systems(places: &[Place<'_>], manifest: &Manifest, findings: &mut Findings) {
    for wanted in manifest.list("partitions") {
        let (Some(number), Some(kind)) = (wanted["number"].as_u64(), wanted["fileSystem"].as_str()) else {
            continue;
        };
        let place = places.iter().find(|place| u64::from(place.number) == number);
        let is_there = match place.map(|place| &place.system) {
            Some(System::Ext4(_)) => kind == "ext4",
            Some(System::Fat(_)) => kind == "vfat",
            None => false,
        };
        if !is_there {
            findings
                .bad(&format!("partition {number}"), &format!("there is no {kind} on it that can be read"));
        }
    }
}

/// Compares where a partition is and what it is called.
fn place(found: &Found, wanted: &Value, is_last: bool, findings: &mut Findings) {
    let what = format!("partition {}", found.number);
    if wanted["start"].as_u64().is_some_and(|start| start != found.start) {
        findings.bad(&what, &format!("it begins at byte {}, expected {}", found.start, wanted["start"]));
    }
    match wanted["length"].as_u64() {
        Some(len) if found.len > len && is_last => {
            findings.note(format!("{what} was grown from {len} to {} bytes", found.len));
        }
        Some(len) if found.len != len => {
            findings.bad(&what, &format!("it has {} bytes, expected {len}", found.len));
        }
        _ => {}
    }
    if wanted["type"].as_str().is_some_and(|kind| !kind.eq_ignore_ascii_case(&found.kind)) {
        findings.bad(&what, &format!("its type is {}, expected {}", found.kind, wanted["type"]));
    }
    if wanted["active"].as_bool().is_some_and(|active| active != found.is_active) {
        let word = if found.is_active { "active" } else { "not active" };
        findings.bad(&what, &format!("it is {word}, expected otherwise: U-Boot looks for that flag"));
    }
    if found.attributes != 0 {
        let how = format!(
            "its attributes are {:#x}, expected none: firmware passes over such a partition",
            found.attributes
        );
        findings.bad(&what, &how);
    }
    if wanted["name"].as_str().is_some_and(|name| Some(name) != found.name.as_deref()) {
        findings.bad(&what, &format!("its name is {:?}, expected {}", found.name, wanted["name"]));
    }
}

fn disk(reading: &Reading) -> String {
    match &reading.table {
        Some(Table::Mbr(mbr)) => format!("{:08x}", mbr.disk_id),
        Some(Table::Gpt(gpt)) => gpt.disk_guid.to_string(),
        None => String::new(),
    }
}

fn found(reading: &Reading) -> Vec<Found> {
    let bytes = reading.sector.bytes();
    match &reading.table {
        Some(Table::Mbr(mbr)) => mbr
            .partitions
            .iter()
            .map(|partition| Found {
                number: u64::from(partition.number),
                start: partition.start.saturating_mul(bytes),
                len: partition.sectors.saturating_mul(bytes),
                kind: format!("{:02x}", partition.kind),
                partuuid: format!("{:08x}-{:02x}", mbr.disk_id, partition.number),
                name: None,
                is_active: partition.active,
                attributes: 0,
            })
            .collect(),
        Some(Table::Gpt(gpt)) => gpt
            .partitions
            .iter()
            .map(|partition| Found {
                number: u64::from(partition.number),
                start: partition.start.saturating_mul(bytes),
                len: partition.sectors.saturating_mul(bytes),
                kind: partition.type_guid.to_string(),
                partuuid: partition.unique_guid.to_string(),
                name: Some(partition.name.clone()),
                is_active: partition.attributes & LEGACY_BOOT != 0,
                attributes: partition.attributes & !LEGACY_BOOT,
            })
            .collect(),
        None => Vec::new(),
    }
}

/// The file system has the form that all readers take alike.
fn form(place: &Place<'_>, manifest: &Manifest, findings: &mut Findings) {
    let what = format!("partition {}", place.number);
    let odd = match &place.system {
        System::Fat(_) => {
            copies(place, &what, findings);
            read::oddities(&place.part).map_err(|error| error.to_string())
        }
        System::Ext4(ext4) if place.root().is_some() => {
            let around = ext4.odd_surroundings().map_err(|error| error.to_string());
            around.map(|around| ext4.superblock.oddities().into_iter().chain(around).collect())
        }
        System::Ext4(_) => return,
    };
    if !manifest.is_ours() {
        return;
    }
    match odd {
        Ok(odd) => odd.iter().for_each(|how| findings.bad(&what, how)),
        Err(error) => findings.bad(&what, &error),
    }
}

/// What a FAT has twice is the same. Linux writes both copies; a card that was pulled may have one of them newer.
fn copies(place: &Place<'_>, what: &str, findings: &mut Findings) {
    match read::copies_differ(&place.part) {
        Ok(None) => {}
        Ok(Some(twice)) => findings.uncovered(what, &format!("the two copies of its {twice} differ")),
        Err(error) => findings.bad(what, &error.to_string()),
    }
}

/// Compares the label and the UUID of a file system.
fn labels(place: &Place<'_>, manifest: &Manifest, findings: &mut Findings) {
    let (label, uuid, keys) = match &place.system {
        System::Ext4(ext4) if place.root().is_some() => {
            let superblock = &ext4.superblock;
            (superblock.label.clone(), superblock.uuid.to_string(), ["rootLabel", "rootUuid"])
        }
        System::Ext4(_) => return,
        System::Fat(fat) => {
            let id = fat.volume_id();
            (
                fat.label().to_owned(),
                format!("{:04X}-{:04X}", id >> 16, id & 0xffff),
                ["bootLabel", "bootVolumeId"],
            )
        }
    };
    for (key, found) in keys.into_iter().zip([label, uuid]) {
        let wanted = manifest.at(&["identifiers", key]).and_then(Value::as_str);
        if wanted.is_some_and(|wanted| wanted != found) {
            let wanted = wanted.unwrap_or_default();
            let what = if key.ends_with("Label") { "label" } else { "identifier" };
            let text = format!("the {what} of its file system is {found:?}, expected {wanted:?}");
            findings.bad(&format!("partition {}", place.number), &text);
        }
    }
}
