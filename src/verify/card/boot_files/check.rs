//! Boot files: each as the manifest or a firmware update has it, or as NixOS's own builder writes it for a generation
//! that is there.

use super::explain::{Explain, Told};
use super::known::{Files, Known, fold};
use super::plain;
use super::replaced::{RECORD, Replaced};
use crate::base_n;
use crate::format::disk::ext4::read::Ext4;
use crate::verify::card::findings::Findings;
use crate::verify::card::manifest::{FAT, Manifest, ROOT};
use crate::verify::card::part::Part;
use crate::verify::card::place::Place;
use crate::verify::card::store::systems::Systems;
use serde_json::Value;
use std::collections::BTreeMap;

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
    let of_root = root_number(manifest);
    let composed = known(manifest, of_root);
    let replaced = Replaced::read(places, manifest, findings);
    let known = match &replaced {
        Some(replaced) => replaced.over(&composed),
        None => composed.clone(),
    };
    if let Some(replaced) = &replaced {
        replaced.tell(&composed, &known, places, findings);
    }
    let alone = places.iter().all(|place| place.number == 0);
    let root_of_table = of_root.filter(|_| alone).and_then(|number| u32::try_from(number).ok());
    let judged =
        Judged { known, replaced, explain: Explain::new(root, systems), manifest, systems, root_of_table };
    let equal = places.iter().map(|place| judged.place(place, findings)).sum();
    for place in places {
        if let Some(raw) = place.before_replay() {
            let mut before = Findings {
                is_used: true,
                has_keys: findings.has_keys,
                unsigned: findings.unsigned,
                ..Findings::default()
            };
            match raw {
                Ok(raw) => drop(judged.place(&raw, &mut before)),
                Err(why) => before.bad("/", &why),
            }
            for (path, how) in before.damaged {
                findings.bad(&path, &format!("{how}: so boot loaders read it, which replay no journal"));
            }
        }
    }
    equal
}

/// What boot files are held against.
struct Judged<'a> {
    known: Files,
    replaced: Option<Replaced>,
    explain: Explain<'a>,
    manifest: &'a Manifest,
    systems: &'a Systems,
    /// The number of the root by the manifest, where the root is there alone.
    root_of_table: Option<u32>,
}

impl Judged<'_> {
    /// Judges one file system; gives how many files are as they are known.
    fn place(&self, place: &Place<'_>, findings: &mut Findings) -> u64 {
        let is_root = place.root().is_some();
        let files = place.boot_files(findings);
        plain::check(place, &files, findings);
        let of_place =
            |number: u32| number == place.number || (is_root && Some(number) == self.root_of_table);
        let mut left: BTreeMap<&str, u64> = files.iter().map(|(path, len)| (&**path, *len)).collect();
        let mut equal = 0;
        for ((_, name), file) in self.known.iter().filter(|((number, _), _)| of_place(*number)) {
            let Some((path, len)) = files.iter().find(|(path, _)| fold(path, is_root) == *name) else {
                if !self.replaced.as_ref().is_some_and(|replaced| replaced.may_lack(place.number, name)) {
                    missing(name, self.manifest, self.systems, findings);
                }
                continue;
            };
            left.remove(&**path);
            match compare(place, (path, *len), file) {
                Ok(true) => equal += 1,
                Ok(false) => self.changed(place, path, findings),
                Err(why) => findings.bad(path, &why),
            }
        }
        let own = [FAT, ROOT, RECORD, "/nixflash.json.minisig"];
        for (path, len) in left.into_iter().filter(|(path, _)| !own.contains(path)) {
            match self.explain.added(place, path, len, &files) {
                // A manifest without digests: what copies a file of the store is right, the rest is not known.
                Some(_) if self.known.is_empty() => equal += 1,
                None if self.known.is_empty() => {}
                Some(told) => self.tell(path, "added", &told, findings),
                None => findings.bad(path, "it was added, and belongs to no generation"),
            }
        }
        equal
    }

    /// A file is not what was written.
    fn changed(&self, place: &Place<'_>, path: &str, findings: &mut Findings) {
        match self.explain.changed(place, path) {
            Ok(Some(told)) => self.tell(path, "changed", &told, findings),
            Ok(None) => findings.bad(path, "it is not what was written"),
            Err(why) => findings.bad(path, &format!("it is not what was written: {why}")),
        }
    }

    fn tell(&self, path: &str, done: &str, told: &Told, findings: &mut Findings) {
        findings.since(format!("{path} was {done}: {}", told.why));
        // A default that was composed is covered by the manifest.
        if let Some(default) =
            told.default.filter(|default| !self.manifest.generations().contains_key(default))
        {
            let how = format!("generation {default} is what it boots when nobody chooses");
            self.systems.tell_default(path, default, &how, findings);
        }
    }
}

/// The number of the root's partition, as the manifest says.
fn root_number(manifest: &Manifest) -> Option<u64> {
    let root = manifest.list("partitions").iter().find(|partition| partition["role"] == "root");
    root.and_then(|partition| partition.get("number")?.as_u64())
}

/// The files of the manifest.
fn known(manifest: &Manifest, of_root: Option<u64>) -> Files {
    let one = |value: &Value| {
        let number = value.get("partition")?.as_u64()?;
        let path = fold(value.get("path")?.as_str()?, Some(number) == of_root);
        Some(((u32::try_from(number).ok()?, path), Known::of(value)?))
    };
    manifest.list("bootFiles").iter().filter_map(one).collect()
}

fn compare(place: &Place<'_>, (path, len): (&str, u64), known: &Known) -> Result<bool, String> {
    // The length first: what is longer need not be read.
    Ok(len == known.size && base_n::to_base16(&place.digest(path)?) == known.sha256)
}

/// A file is not there: builders remove what no generation needs.
fn missing(path: &str, manifest: &Manifest, systems: &Systems, findings: &mut Findings) {
    let of_builder = ["/nixos/", "/loader/entries/"];
    let generations = manifest.generations();
    let is_gone = generations.keys().any(|number| !systems.links.contains_key(number));
    let is_collected = is_gone && !systems.links.is_empty();
    if is_collected && of_builder.iter().any(|directory| path.contains(directory)) {
        findings.since(format!("{path} was removed, with a generation"));
    } else {
        findings.bad(path, "it is missing");
    }
}
