//! What nixflash wrote about a card, on its root and on its FAT.

use super::findings::Findings;
use super::place::Place;
use crate::base_n;
use crate::format::file::json;
use crate::format::nix::nar_hash;
use crate::format::nix::store_path::StorePath;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Where it is on the root.
pub const ROOT: &str = "/nix/var/nixflash/manifest.json";
/// Where it is on the FAT.
pub const FAT: &str = "/nixflash.json";
/// The longest, in bytes.
const MAX_LEN: u64 = 16 << 20;

/// The manifest: that of the root, or of the FAT where the root has none.
pub struct Manifest {
    value: Option<Value>,
    /// The text on the root.
    bytes: Vec<u8>,
}

impl Manifest {
    /// Reads both, which must be about the same card.
    pub fn read(places: &[Place<'_>], findings: &mut Findings) -> Self {
        let root = places.iter().find(|place| place.root().is_some());
        let root = root.and_then(|place| one(place, ROOT, findings));
        let copy = places
            .iter()
            .find_map(|place| if place.root().is_some() { None } else { one(place, FAT, findings) });
        if let (Some((bytes, value)), Some((text, copy))) = (&root, &copy) {
            agree((bytes, value), (text, copy), findings);
        }
        match (root, copy) {
            (Some((bytes, value)), copy) => {
                let manifest = Self { value: Some(value), bytes };
                let has_fat = places.len() > 1 && manifest.at(&["identifiers", "bootVolumeId"]).is_some();
                if copy.is_none() && has_fat {
                    findings.bad(FAT, "it is missing");
                }
                manifest
            }
            (None, Some((_, value))) => {
                findings.bad(ROOT, "it is missing, while the FAT has its copy");
                Self { value: Some(value), bytes: Vec::new() }
            }
            (None, None) => Self { value: None, bytes: Vec::new() },
        }
    }

    /// Takes what was read elsewhere.
    pub const fn of(value: Value) -> Self {
        Self { value: Some(value), bytes: Vec::new() }
    }

    /// The text of that on the root, which is what is signed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there is one.
    pub const fn is_ours(&self) -> bool {
        self.value.is_some()
    }

    /// A value; none for null.
    pub fn at(&self, keys: &[&str]) -> Option<&Value> {
        let found = keys.iter().try_fold(self.value.as_ref()?, |value, key| value.get(key))?;
        Some(found).filter(|value| !value.is_null())
    }

    /// A text at the top.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.at(&[key])?.as_str()
    }

    /// A list at the top.
    pub fn list(&self, key: &str) -> &[Value] {
        self.at(&[key]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The generations that were composed, by number: the older ones and, last, the system.
    pub fn generations(&self) -> BTreeMap<u32, &str> {
        let older = self.at(&["compose", "generations"]).and_then(Value::as_array);
        let older = older.into_iter().flatten().filter_map(Value::as_str);
        (1..).zip(older.chain(self.text("toplevel"))).collect()
    }

    /// The store paths with their NAR hashes and lengths, and whose signatures they had.
    pub fn store_paths(&self) -> impl Iterator<Item = Listed> {
        self.list("storePaths").iter().filter_map(|value| {
            let path = StorePath::from_absolute(value.get("path")?.as_str()?).ok()?;
            let hash = nar_hash::parse(value.get("narHash")?.as_str()?)?;
            let keys = value.get("signedBy").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let signed_by = keys.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            Some(Listed { path, hash, size: value.get("narSize")?.as_u64()?, signed_by })
        })
    }
}

/// A store path of the manifest.
pub struct Listed {
    /// The path.
    pub path: StorePath,
    /// SHA-256 of its NAR.
    pub hash: [u8; 32],
    /// Length of its NAR.
    pub size: u64,
    /// Names of the keys that had signed it.
    pub signed_by: Vec<String>,
}

/// The copy on the FAT follows from the manifest on the root, byte by byte.
fn agree((bytes, value): (&[u8], &Value), (text, copy): (&[u8], &Value), findings: &mut Findings) {
    let digest = base_n::to_base16(&Sha256::digest(bytes));
    if copy.get("manifestSha256").and_then(Value::as_str) != Some(&digest) {
        findings.bad(ROOT, "it is not the manifest whose digest the copy on the FAT has");
    }
    let mut expected = value.clone();
    if let Value::Object(object) = &mut expected {
        object.remove("storePaths");
        if let Some(Value::Object(configuration)) = object.get_mut("configuration") {
            configuration.remove("list");
        }
    }
    expected["manifestSha256"] = digest.into();
    let keys = |value: &Value| value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
    let keys: [BTreeSet<String>; 2] = [keys(&expected), keys(copy)];
    let differ = keys[0].union(&keys[1]).filter(|key| *key != "manifestSha256");
    let differ: Vec<_> = differ.filter(|key| expected.get(key) != copy.get(key)).collect();
    for key in &differ {
        findings.bad(FAT, &format!("it disagrees with {ROOT} about {key}"));
    }
    if differ.is_empty() && expected == *copy && text != format!("{copy:#}\n").as_bytes() {
        findings.bad(FAT, "it is not written as nixflash writes it");
    }
}

fn one(place: &Place<'_>, path: &str, findings: &mut Findings) -> Option<(Vec<u8>, Value)> {
    let bytes = match place.read(path, MAX_LEN) {
        Ok(found) => found?,
        Err(error) => {
            findings.bad(path, &error);
            return None;
        }
    };
    match json::parse(&bytes) {
        Ok(value) => Some((bytes, value)),
        Err(error) => {
            findings.bad(path, &error.to_string());
            None
        }
    }
}
