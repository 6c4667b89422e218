//! The manifest: what a card says of itself. `docs/manifest.md` describes every key; this is the one place that has
//! their names.
//!
//! Read leniently (an unknown key is ignored, a value of another type counts as absent), written in one form: keys in
//! order, indented by two, a newline at the end.

use super::{json_text, lenient};
use crate::format::file::json;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Names the form.
pub const SCHEMA: &str = "nixflash-manifest/1";

/// All that a card says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    /// [`SCHEMA`].
    #[serde(deserialize_with = "lenient::or_default")]
    pub schema: String,
    /// The version of nixflash that composed the card.
    #[serde(deserialize_with = "lenient::or_default")]
    pub nixflash: String,
    /// The board.
    #[serde(deserialize_with = "lenient::or_default")]
    pub board: String,
    /// SHA-256 of the text of the board's profile, base 16.
    #[serde(deserialize_with = "lenient::or_default")]
    pub profile_sha256: String,
    /// The store path of the system.
    #[serde(deserialize_with = "lenient::or_default")]
    pub toplevel: String,
    /// Its platform, such as `aarch64-linux`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub system: String,
    /// The version of NixOS.
    #[serde(deserialize_with = "lenient::or_default")]
    pub nixos_version: String,
    /// What the system itself says of its revision.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub configuration_revision: Option<String>,
    /// The revision of the embedded configuration, or else that of the system.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Identifiers of the disk and its file systems.
    #[serde(deserialize_with = "lenient::or_default")]
    pub identifiers: Identifiers,
    /// The partitions, the root last.
    #[serde(deserialize_with = "lenient::elements")]
    pub partitions: Vec<Partition>,
    /// Files that are read before the system runs, in partitions.
    #[serde(deserialize_with = "lenient::elements")]
    pub boot_files: Vec<BootFile>,
    /// Boot loaders outside of all partitions.
    #[serde(deserialize_with = "lenient::elements")]
    pub raw_files: Vec<RawFile>,
    /// Packages that boot files are from, by their key in the profile.
    #[serde(deserialize_with = "lenient::or_default")]
    pub firmware: BTreeMap<String, Package>,
    /// The closure in numbers and digests.
    #[serde(deserialize_with = "lenient::or_default")]
    pub closure: Totals,
    /// The closure path by path; absent on the FAT.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub store_paths: Option<Vec<StorePathEntry>>,
    /// The embedded configuration; absent when there is none.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Configuration>,
    /// What else the bits depend on.
    #[serde(deserialize_with = "lenient::or_default")]
    pub compose: Recipe,
    /// The stores that were asked, where the user wants them recorded.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub stores: Option<Vec<String>>,
    /// On the FAT only: SHA-256 of the manifest on the root, base 16.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
}

/// Identifiers that a card carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Identifiers {
    /// MBR: eight hexadecimal digits; GPT: a GUID.
    pub disk: String,
    /// Of each partition, as in `/dev/disk/by-partuuid`.
    pub partitions: Vec<String>,
    /// Label of the root.
    pub root_label: String,
    /// UUID of the root.
    pub root_uuid: String,
    /// Label of the FAT.
    pub boot_label: Option<String>,
    /// Volume id of the FAT, as `ABCD-1234`.
    pub boot_volume_id: Option<String>,
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Partition {
    /// From 1.
    #[serde(deserialize_with = "lenient::or_default")]
    pub number: Option<u64>,
    /// As in a profile: `firmware`, `esp`, `root`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub role: Option<String>,
    /// Its first byte.
    #[serde(deserialize_with = "lenient::or_default")]
    pub start: Option<u64>,
    /// Bytes.
    #[serde(deserialize_with = "lenient::or_default")]
    pub length: Option<u64>,
    /// Two hexadecimal digits (MBR) or a GUID.
    #[serde(rename = "type", deserialize_with = "lenient::or_default")]
    pub kind: Option<String>,
    /// As in `/dev/disk/by-partuuid`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub partuuid: Option<String>,
    /// Its name in a GPT.
    #[serde(deserialize_with = "lenient::or_default")]
    pub name: Option<String>,
    /// The flag that U-Boot looks for.
    #[serde(deserialize_with = "lenient::or_default")]
    pub active: Option<bool>,
    /// `vfat` or `ext4`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub file_system: Option<String>,
    /// Label of the file system.
    #[serde(deserialize_with = "lenient::or_default")]
    pub label: Option<String>,
    /// UUID or volume id of the file system.
    #[serde(deserialize_with = "lenient::or_default")]
    pub uuid: Option<String>,
}

/// A file of a partition that is read before the system runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFile {
    /// The number of its partition.
    pub partition: u64,
    /// From the top of the partition.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256, base 16.
    pub sha256: String,
}

/// A boot loader outside of all partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawFile {
    /// Its first byte on the card.
    #[serde(deserialize_with = "lenient::or_default")]
    pub offset: Option<u64>,
    /// Its length in bytes.
    #[serde(deserialize_with = "lenient::or_default")]
    pub size: Option<u64>,
    /// Its SHA-256, base 16.
    #[serde(deserialize_with = "lenient::or_default")]
    pub sha256: Option<String>,
}

impl RawFile {
    /// The bytes of the card that it takes; `None` where the manifest does not say or they pass the end of all numbers.
    #[must_use]
    pub fn range(&self) -> Option<std::ops::Range<u64>> {
        let start = self.offset?;
        Some(start..start.checked_add(self.size?)?)
    }
}

/// A package of firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Package {
    /// Its store path; absent for a directory outside any store.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The hash of its NAR, as narinfos have it.
    #[serde(deserialize_with = "lenient::or_default")]
    pub nar_hash: Option<String>,
    /// The directory in it that has the files.
    #[serde(deserialize_with = "lenient::or_default")]
    pub directory: String,
}

/// The closure in numbers and digests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// How many paths.
    #[serde(deserialize_with = "lenient::or_default")]
    pub paths: u64,
    /// Bytes of all NARs.
    #[serde(deserialize_with = "lenient::or_default")]
    pub nar_bytes: u64,
    /// Of a line `PATH NARHASH NARSIZE` for each path, in order; base 16.
    #[serde(deserialize_with = "lenient::or_default")]
    pub sha256: String,
    /// Of a line `PATH REFERENCE...` for each path, in order; base 16.
    #[serde(deserialize_with = "lenient::or_default")]
    pub references_sha256: String,
}

/// One path of the closure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorePathEntry {
    /// The path.
    pub path: String,
    /// The hash of its NAR, as narinfos have it.
    pub nar_hash: String,
    /// Bytes of its NAR.
    pub nar_size: u64,
    /// Names of the keys that signed it.
    #[serde(default, deserialize_with = "lenient::elements")]
    pub signed_by: Vec<String>,
}

/// The embedded configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    /// Its directory on the root.
    #[serde(deserialize_with = "lenient::or_default")]
    pub path: String,
    /// The hash of the directory's NAR, as narinfos have it.
    #[serde(deserialize_with = "lenient::or_default")]
    pub nar_hash: String,
    /// How many files it has.
    #[serde(deserialize_with = "lenient::or_default")]
    pub files: u64,
    /// Their length in bytes.
    #[serde(deserialize_with = "lenient::or_default")]
    pub bytes: u64,
    /// Its revision.
    #[serde(deserialize_with = "lenient::or_default")]
    pub revision: Option<String>,
    /// Whether tracked files differ from that revision.
    #[serde(deserialize_with = "lenient::or_default")]
    pub dirty: Option<bool>,
    /// Whether only root may read it.
    #[serde(deserialize_with = "lenient::or_default")]
    pub private: bool,
    /// `MODE SHA256 PATH` of each file; absent on the FAT and of a private one.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<String>,
}

/// What else the bits of an image depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Recipe {
    /// How large the root is.
    #[serde(deserialize_with = "lenient::or_default")]
    pub root_size: Option<RootSize>,
    /// Length of the FAT; absent where it is that of the profile.
    #[serde(deserialize_with = "lenient::or_default")]
    pub boot_size: Option<u64>,
    /// Free inodes on the root.
    #[serde(deserialize_with = "lenient::or_default")]
    pub free_inodes: Option<u64>,
    /// The time of files of nixflash's own making, seconds since 1970.
    #[serde(deserialize_with = "lenient::or_default")]
    pub epoch: Option<u64>,
    /// Salt of derived identifiers.
    #[serde(deserialize_with = "lenient::or_default")]
    pub id_seed: Option<String>,
    /// Earlier systems, the oldest first.
    #[serde(deserialize_with = "lenient::elements")]
    pub generations: Vec<String>,
    /// The text of the board's profile, where it is not built in.
    #[serde(deserialize_with = "lenient::or_default")]
    pub profile: Option<String>,
    /// What the user added to the board's `config.txt`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub config_txt: Option<String>,
}

/// How large the root is asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootSize {
    /// What `bytes` is the length of.
    pub kind: RootSizeKind,
    /// Bytes.
    pub bytes: u64,
}

/// What a length says of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RootSizeKind {
    /// Room for files.
    Free,
    /// The whole image.
    Image,
    /// The whole card, whose tables the kernel completes.
    Card,
}

impl Manifest {
    /// Reads a manifest of this form or a later one of the same name.
    ///
    /// # Errors
    /// The text is no JSON, or no object; or it has more values than [`json::parse`] takes.
    pub fn read(text: &[u8]) -> Result<Self, serde_json::Error> {
        // A list would be taken for the fields in their order.
        let object: Map<String, Value> = json::parse(text)?;
        serde_json::from_value(Value::Object(object))
    }

    /// The text that is written: keys in order, a newline at the end.
    #[must_use]
    pub fn text(&self) -> String {
        json_text::of(self)
    }

    /// What the FAT has of it: all but the lists, and the digest of the full text.
    #[must_use]
    pub fn for_fat(mut self, full_text: &str) -> Self {
        self.store_paths = None;
        if let Some(configuration) = &mut self.configuration {
            configuration.list.clear();
        }
        self.manifest_sha256 = Some(crate::base_n::to_base16(&Sha256::digest(full_text)));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_wrote_is_read_as_far_as_it_is_understood() {
        let text = br#"{"schema":"nixflash-manifest/1","board":7,"new":{},"rawFiles":[{"offset":8,"size":"x"},3],
            "bootFiles":[{"partition":1,"path":"a","size":2,"sha256":"00"},{"partition":"one"}],"compose":[]}"#;
        let manifest = Manifest::read(text).unwrap();
        assert_eq!(manifest.schema, SCHEMA);
        assert_eq!(manifest.board, "");
        assert_eq!(manifest.raw_files, [RawFile { offset: Some(8), size: None, sha256: None }]);
        assert_eq!(manifest.raw_files[0].range(), None);
        assert_eq!(manifest.boot_files.len(), 1);
        assert_eq!(manifest.compose, Recipe::default());
        for bad in [&b"[]"[..], b"7", b"", b"{"] {
            assert!(Manifest::read(bad).is_err());
        }
    }

    #[test]
    fn a_written_manifest_is_read_as_it_was() {
        let mut manifest =
            Manifest { schema: SCHEMA.into(), store_paths: Some(Vec::new()), ..Manifest::default() };
        manifest.compose.root_size = Some(RootSize { kind: RootSizeKind::Card, bytes: u64::MAX });
        assert_eq!(Manifest::read(manifest.text().as_bytes()).unwrap(), manifest);
        let on_fat = manifest.clone().for_fat(&manifest.text());
        assert!(!on_fat.text().contains("storePaths"));
    }

    #[test]
    fn a_range_past_the_end_of_all_numbers_is_none() {
        let file = RawFile { offset: Some(u64::MAX), size: Some(2), sha256: None };
        assert_eq!(file.range(), None);
    }
}
