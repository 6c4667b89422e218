//! Boot files: each as the manifest has it, or as NixOS's own builder writes it for a generation that is there.

use super::Part;
use super::explain::Explain;
use super::findings::Findings;
use super::manifest::{FAT, Manifest};
use super::place::Place;
use super::systems::Systems;
use crate::format::ext4_read::Ext4;
use crate::num;
use serde_json::Value;
use std::collections::BTreeMap;

/// A file as the manifest has it.
struct Known {
    size: u64,
    sha256: String,
}

/// Compares all boot files; gives how many are as the manifest has them.
pub fn check(
    places: &[Place<'_>],
    root: &Ext4<Part<'_>>,
    manifest: &Manifest,
    systems: &Systems,
    findings: &mut Findings,
) -> u64 {
    if !manifest.is_ours() {
        return 0;
    }
    let known = known(manifest);
    let alone = places.iter().all(|place| place.number == 0);
    let explain = Explain::new(root, systems);
    let mut equal = 0;
    for place in places {
        let is_root = place.root().is_some();
        let files = place.boot_files(findings);
        let key = |path: &str| (place.number, fold(path, is_root));
        let of_place = |number: u32| number == place.number || (alone && is_root);
        let mut left: BTreeMap<&str, u64> = files.iter().map(|(path, len)| (&**path, *len)).collect();
        for ((number, name), file) in known.iter().filter(|((number, _), _)| of_place(*number)) {
            if alone && !name.starts_with("/boot/") {
                continue;
            }
            let Some((path, len)) =
                files.iter().find(|(path, _)| (*number, key(path).1) == (*number, name.clone()))
            else {
                missing(name, manifest, systems, findings);
                continue;
            };
            left.remove(&**path);
            match compare(place, (path, *len), file) {
                Ok(true) => equal += 1,
                Ok(false) => changed(place, path, &explain, findings),
                Err(why) => findings.bad(path, &why),
            }
        }
        for (path, len) in left {
            if path == FAT || path == super::manifest::ROOT || path == "/nixflash.json.minisig" {
                continue;
            }
            match explain.added(place, path, len, &files) {
                // A manifest without digests: what copies a file of the store is right, the rest is not known.
                Some(_) if known.is_empty() => equal += 1,
                None if known.is_empty() => {}
                Some(why) => findings.since(format!("{path} was added: {why}")),
                None => findings.bad(path, "it was added, and belongs to no generation"),
            }
        }
    }
    equal
}

/// The files of the manifest by partition and name.
fn known(manifest: &Manifest) -> BTreeMap<(u32, String), Known> {
    let root = manifest.list("partitions").iter().find(|partition| partition["role"] == "root");
    let root = root.and_then(|partition| partition.get("number")?.as_u64());
    let one = |value: &Value| {
        let number = value.get("partition")?.as_u64()?;
        let path = fold(value.get("path")?.as_str()?, Some(number) == root);
        let known = Known {
            size: value.get("size")?.as_u64()?,
            sha256: value.get("sha256")?.as_str()?.to_ascii_lowercase(),
        };
        Some(((u32::try_from(number).ok()?, path), known))
    };
    manifest.list("bootFiles").iter().filter_map(one).collect()
}

/// A path with one slash at its beginning; on a FAT, case does not matter.
fn fold(path: &str, is_root: bool) -> String {
    let path = format!("/{}", path.trim_start_matches('/'));
    if is_root { path } else { path.to_lowercase() }
}

fn compare(place: &Place<'_>, (path, len): (&str, u64), known: &Known) -> Result<bool, String> {
    // The length first: what is longer need not be read.
    Ok(len == known.size && num::to_base16(&place.digest(path)?) == known.sha256)
}

/// A file is not what was written.
fn changed(place: &Place<'_>, path: &str, explain: &Explain<'_>, findings: &mut Findings) {
    match explain.changed(place, path) {
        Ok(Some(why)) => findings.since(format!("{path} was changed: {why}")),
        Ok(None) => findings.bad(path, "it is not what was written"),
        Err(why) => findings.bad(path, &format!("it is not what was written: {why}")),
    }
}

/// A file is not there: builders remove what no generation needs.
fn missing(path: &str, manifest: &Manifest, systems: &Systems, findings: &mut Findings) {
    let of_builder = ["/boot/nixos/", "/efi/nixos/", "/loader/entries/"];
    let generations = manifest.generations();
    let is_gone = generations.keys().any(|number| !systems.links.contains_key(number));
    let is_collected = is_gone && !systems.links.is_empty();
    if is_collected && of_builder.iter().any(|directory| path.starts_with(directory)) {
        findings.since(format!("{path} was removed, with a generation"));
    } else {
        findings.bad(path, "it is missing");
    }
}
