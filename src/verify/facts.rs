//! What a card, a manifest or a closure is made of, in a form in which two of them can be compared.

use super::card::place;
use super::card::place::{Place, System};
use super::card::store::registry;
use super::card::{Error, Findings, Manifest, Shared, spans};
use crate::base_n;
use crate::format::disk::partition_table;
use crate::format::disk::partition_table::Table;
use crate::format::nix::store_path::StorePath;
use serde_json::Value;
use std::collections::BTreeMap;

/// What there is, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Store paths with the hash and the length of their NARs.
    pub store_paths: BTreeMap<StorePath, ([u8; 32], u64)>,
    /// Boot files, `PARTITION:PATH`, with length and SHA-256; none where nothing is said of them.
    pub boot_files: Option<BTreeMap<String, (u64, String)>>,
    /// Files of the configuration with their SHA-256.
    pub configuration: Option<BTreeMap<String, String>>,
    /// Identifiers, board, revision, toplevel.
    pub identifiers: BTreeMap<String, String>,
}

impl Facts {
    /// Those of a card or an image: of what is on it, not of what its manifest says.
    pub fn of_card(disk: Shared<'_>) -> Result<Self, Error> {
        let mut findings = Findings::default();
        let reading = partition_table::read(&disk).map_err(|error| Error::Read(error.source))?;
        let places = place::open(disk, &spans(&reading, disk.size()), &mut findings)?;
        let Some((_, ext4)) = places.iter().find_map(Place::root) else {
            let why = findings.damaged.first().map(|(path, why)| format!("{path}: {why}"));
            return Err(Error::NotOurs(why.unwrap_or_else(|| "no ext4 with a /nix/store".to_owned())));
        };
        let manifest = Manifest::read(&places, &mut findings);
        let mut facts = Self { store_paths: registry::stored(ext4)?, ..Self::default() };
        match &reading.table {
            Some(Table::Mbr(mbr)) => facts.set("disk", format!("{:08x}", mbr.disk_id)),
            Some(Table::Gpt(gpt)) => facts.set("disk", gpt.disk_guid.to_string()),
            None => {}
        }
        let configuration = manifest.at(&["configuration", "path"]).and_then(Value::as_str);
        for place in &places {
            facts.add(place, configuration.unwrap_or("/etc/nixos"), &mut findings);
        }
        for key in ["board", "toplevel", "configurationRevision", "revision", "nixosVersion"] {
            if let Some(text) = manifest.text(key) {
                facts.set(key, text.to_owned());
            }
        }
        match findings.damaged.first() {
            Some((path, why)) => Err(Error::NotOurs(format!("{path}: {why}"))),
            None => Ok(facts),
        }
    }

    fn set(&mut self, key: &str, value: String) {
        self.identifiers.insert(key.to_owned(), value);
    }

    /// Adds what a file system has.
    fn add(&mut self, place: &Place<'_>, configuration: &str, findings: &mut Findings) {
        let number = place.number;
        let mut digests = |paths: BTreeMap<String, u64>| {
            let mut found = BTreeMap::new();
            for (path, len) in paths {
                match place.digest(&path) {
                    Ok(digest) => drop(found.insert(path, (len, base_n::to_base16(&digest)))),
                    Err(why) => findings.bad(&path, &why),
                }
            }
            found
        };
        let mut ignored = Findings::default();
        let files = digests(place.boot_files(&mut ignored));
        // The copy of the manifest differs wherever anything does.
        let files = files.into_iter().filter(|(path, _)| path != super::card::FAT_MANIFEST);
        let named = files.map(|(path, file)| (format!("{number}:{path}"), file));
        self.boot_files.get_or_insert_default().extend(named);
        match &place.system {
            System::Ext4(ext4) if place.root().is_some() => {
                self.set("rootLabel", ext4.superblock.label.clone());
                self.set("rootUuid", ext4.superblock.uuid.to_string());
                let below = place::files_below(ext4, configuration, &mut ignored);
                let below = digests(below).into_iter().map(|(path, (_, sha256))| (path, sha256));
                self.configuration = Some(below.collect());
            }
            System::Ext4(_) => {}
            System::Fat(fat) => {
                let id = fat.volume_id();
                self.set("bootLabel", fat.label().to_owned());
                self.set("bootVolumeId", format!("{:04X}-{:04X}", id >> 16, id & 0xffff));
            }
        }
    }

    /// Those that a manifest tells; `None` when it is none.
    #[must_use]
    pub fn of_manifest(manifest: Value) -> Option<Self> {
        manifest.get("schema")?.as_str()?.strip_prefix("nixflash-manifest/")?;
        let manifest = Manifest::of(manifest);
        let mut facts = Self::default();
        facts.store_paths.extend(manifest.store_paths().map(|one| (one.path, (one.hash, one.size))));
        let file = |value: &Value| {
            let number = value.get("partition")?.as_u64()?;
            let path = format!("/{}", value.get("path")?.as_str()?.trim_start_matches('/'));
            let digest = value.get("sha256")?.as_str()?.to_owned();
            Some((format!("{number}:{path}"), (value.get("size")?.as_u64()?, digest)))
        };
        if manifest.at(&["bootFiles"]).is_some() {
            facts.boot_files = Some(manifest.list("bootFiles").iter().filter_map(file).collect());
        }
        for key in ["disk", "rootLabel", "rootUuid", "bootLabel", "bootVolumeId"] {
            if let Some(text) = manifest.at(&["identifiers", key]).and_then(Value::as_str) {
                facts.set(key, text.to_owned());
            }
        }
        for key in ["board", "toplevel", "configurationRevision", "revision", "nixosVersion"] {
            if let Some(text) = manifest.text(key) {
                facts.set(key, text.to_owned());
            }
        }
        Some(facts)
    }
}

/// A store path in another version, or more than one of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The name without the version.
    pub name: String,
    /// Versions and lengths before.
    pub before: Vec<(String, u64)>,
    /// And after.
    pub after: Vec<(String, u64)>,
}

/// One thing that has a value here and another, or none, there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// What.
    pub name: String,
    /// Its value before.
    pub before: Option<String>,
    /// And after.
    pub after: Option<String>,
}

/// How two differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Store paths of names that were not there.
    pub added: Vec<(StorePath, u64)>,
    /// Store paths of names that are there no more.
    pub removed: Vec<(StorePath, u64)>,
    /// Names whose paths are others.
    pub changed: Vec<Changed>,
    /// Paths whose contents are others.
    pub contents: Vec<StorePath>,
    /// Boot files.
    pub boot_files: Vec<Other>,
    /// Files of the configuration.
    pub configuration: Vec<Other>,
    /// Identifiers.
    pub identifiers: Vec<Other>,
}

impl Difference {
    /// Compares two. What one of them says nothing of is left out.
    #[must_use]
    pub fn of(before: &Facts, after: &Facts) -> Self {
        let mut difference = Self::default();
        let mut names: BTreeMap<String, Changed> = BTreeMap::new();
        let mut only = |from: &Facts, other: &Facts, is_before: bool| {
            for (path, (_, size)) in
                from.store_paths.iter().filter(|(path, _)| !other.store_paths.contains_key(*path))
            {
                let (name, version) = split(path.name());
                let changed = names.entry(name.to_owned()).or_insert_with(|| Changed {
                    name: name.to_owned(),
                    before: Vec::new(),
                    after: Vec::new(),
                });
                let side = if is_before { &mut changed.before } else { &mut changed.after };
                side.push((version.to_owned(), *size));
            }
        };
        only(before, after, true);
        only(after, before, false);
        let of = |facts: &Facts, other: &Facts, names: &BTreeMap<String, Changed>| {
            let paths = facts.store_paths.iter().filter(|(path, _)| !other.store_paths.contains_key(*path));
            let alone = paths.filter(|(path, _)| {
                names
                    .get(split(path.name()).0)
                    .is_some_and(|one| one.before.is_empty() || one.after.is_empty())
            });
            alone.map(|(path, (_, size))| (path.clone(), *size)).collect::<Vec<_>>()
        };
        difference.added = of(after, before, &names);
        difference.removed = of(before, after, &names);
        let both = names.into_values().filter(|one| !one.before.is_empty() && !one.after.is_empty());
        difference.changed = both.collect();
        let other = |path: &&StorePath| {
            let (a, b) = (before.store_paths.get(*path), after.store_paths.get(*path));
            a.zip(b).is_some_and(|(a, b)| a != b)
        };
        difference.contents = before.store_paths.keys().filter(other).cloned().collect();
        if let (Some(a), Some(b)) = (&before.boot_files, &after.boot_files) {
            difference.boot_files = others(a, b, &|(len, sha256)| format!("{len} bytes, SHA-256 {sha256}"));
        }
        if let (Some(a), Some(b)) = (&before.configuration, &after.configuration) {
            difference.configuration = others(a, b, &|sha256| format!("SHA-256 {sha256}"));
        }
        let both: Vec<&String> =
            before.identifiers.keys().filter(|key| after.identifiers.contains_key(*key)).collect();
        let of_both = |facts: &Facts| -> BTreeMap<String, String> {
            both.iter()
                .filter_map(|key| Some(((*key).clone(), facts.identifiers.get(*key)?.clone())))
                .collect()
        };
        difference.identifiers = others(&of_both(before), &of_both(after), &String::clone);
        difference
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn others<T: PartialEq>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    show: &dyn Fn(&T) -> String,
) -> Vec<Other> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let differ = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let one = |name: &String| Other {
        name: name.clone(),
        before: before.get(name).map(show),
        after: after.get(name).map(show),
    };
    differ.map(one).collect()
}

/// Splits a name from its version as Nix does: at the first dash that no letter follows.
fn split(name: &str) -> (&str, &str) {
    let bytes = name.as_bytes();
    let at = (0..bytes.len().saturating_sub(1))
        .find(|at| bytes[*at] == b'-' && !bytes[*at + 1].is_ascii_alphabetic());
    at.map_or((name, ""), |at| (&name[..at], &name[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(names: &[(&str, u64)]) -> Facts {
        let path = |hash: char, name: &str| {
            StorePath::from_base_name(&format!("{}-{name}", hash.to_string().repeat(32))).unwrap()
        };
        let one = |(name, size): &(&str, u64)| {
            let hash = char::from(b'0' + u8::try_from(*size % 10).unwrap());
            (path(hash, name), ([7; 32], *size))
        };
        Facts { store_paths: names.iter().map(one).collect(), ..Facts::default() }
    }

    #[test]
    fn versions_are_told_from_names_and_paths_of_a_name_belong_together() {
        for (whole, parts) in [
            ("linux-6.12.8", ("linux", "6.12.8")),
            ("nixos-system-pi-25.11", ("nixos-system-pi", "25.11")),
            ("gcc-wrapper", ("gcc-wrapper", "")),
            ("x-", ("x-", "")),
        ] {
            assert_eq!(split(whole), parts);
        }
        let before = facts(&[("linux-6.12", 1), ("old-1", 2), ("same-1", 3)]);
        let after = facts(&[("linux-6.13", 4), ("new-1", 5), ("same-1", 3)]);
        let found = Difference::of(&before, &after);
        assert_eq!(found.added.iter().map(|(path, _)| path.name()).collect::<Vec<_>>(), ["new-1"]);
        assert_eq!(found.removed.iter().map(|(path, _)| path.name()).collect::<Vec<_>>(), ["old-1"]);
        let changed = Changed {
            name: "linux".into(),
            before: vec![("6.12".into(), 1)],
            after: vec![("6.13".into(), 4)],
        };
        assert_eq!(found.changed, [changed]);
        assert!(Difference::of(&before, &before).is_empty());
    }
}
