//! What a card says of itself: `/nix/var/nixflash/manifest.json` on the root, `nixflash.json` on the FAT.
//!
//! `docs/manifest.md` is the schema. No clock, no host, no path of the composing machine goes in, and nothing that
//! depends on the store that a path came from: the same closure gives the same bits from everywhere.

use super::boot_digests::BootFile;
use super::configuration::{Placed, Revision};
use crate::base_n;
use crate::board::{Board, Partition, PartitionType, Role};
use crate::compose::closure::{Forest, Packed};
use crate::compose::firmware::find::Places;
use crate::compose::ids::{Identifiers, Ids};
use crate::compose::request::{Record, RootSize, Signing};
use crate::compose::system::toplevel::Toplevel;
use crate::format::nix::nar_hash;
use crate::format::nix::store_path::StorePath;
use crate::ints;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Names the form of the manifest.
pub const SCHEMA: &str = "nixflash-manifest/1";
/// Where the manifest is on the root.
pub const MANIFEST: &str = "/nix/var/nixflash/manifest.json";
/// Where a shorter one is on the FAT.
pub const FAT_COPY: &str = "/nixflash.json";
/// Where the signature of the manifest is on the root.
pub const SIGNATURE: &str = "/nix/var/nixflash/manifest.json.minisig";

/// What a manifest tells of.
pub struct Composition<'a> {
    /// The board.
    pub board: &'a Board,
    /// The toplevel.
    pub toplevel: &'a Toplevel,
    /// The identifiers.
    pub ids: &'a Ids,
    /// How many sources of the forest are the closure.
    pub closure: usize,
    /// The sources.
    pub forest: &'a Forest,
    /// The firmware.
    pub places: &'a Places,
    /// What boots.
    pub boot_files: &'a [BootFile],
    /// The configuration that is on the card.
    pub configuration: Option<&'a Placed>,
    /// The revision that the system says it is of.
    pub system_revision: Option<&'a str>,
    /// What the image is asked to be.
    pub recipe: &'a Recipe<'a>,
}

/// What nixflash was told, as far as bits of the image depend on it and nothing else of the manifest says it.
pub struct Recipe<'a> {
    /// How large the root is.
    pub root_size: RootSize,
    /// Length of the FAT, where it is not that of the profile.
    pub boot_size: Option<u64>,
    /// Free inodes on the root.
    pub free_inodes: u32,
    /// The time of files of nixflash's own making.
    pub epoch: u32,
    /// The word that identifiers also derive from.
    pub id_seed: Option<&'a str>,
    /// Earlier generations, the oldest first.
    pub older: &'a [StorePath],
    /// What the user has it say.
    pub record: &'a Record,
}

/// A manifest whose root has no length yet: that depends on the length of the manifest.
pub struct Draft {
    value: Value,
    room: usize,
}

impl Draft {
    /// Says all of a composition.
    pub fn new(composition: &Composition<'_>) -> Self {
        let mut value = manifest(composition);
        // No number is longer, so that the finished text fits into as many bytes.
        set_root_len(&mut value, u64::MAX);
        let room = text(&value).len();
        Self { value, room }
    }

    /// The length of the finished text in bytes.
    pub const fn room(&self) -> usize {
        self.room
    }

    /// Puts in the length of the root. What is left of the room is white space before the last newline.
    pub fn finish(mut self, root_len: u64) -> Finished {
        set_root_len(&mut self.value, root_len);
        let mut full = text(&self.value);
        full.pop();
        full.push_str(&" ".repeat(self.room - 1 - full.len()));
        full.push('\n');
        Finished { value: self.value, text: full }
    }
}

/// A manifest that will not change any more.
pub struct Finished {
    value: Value,
    /// Its text.
    pub text: String,
}

impl Finished {
    /// The text for the FAT: all but the lists of store paths and of the configuration's files, and the digest of the full one.
    pub fn fat_copy(mut self) -> String {
        if let Value::Object(object) = &mut self.value {
            object.remove("storePaths");
            if let Some(Value::Object(configuration)) = object.get_mut("configuration") {
                configuration.remove("list");
            }
        }
        self.value["manifestSha256"] = base_n::to_base16(&Sha256::digest(&self.text)).into();
        text(&self.value)
    }
}

fn set_root_len(manifest: &mut Value, len: u64) {
    let partitions = manifest["partitions"].as_array_mut();
    if let Some(root) = partitions.and_then(|partitions| partitions.last_mut()) {
        root["length"] = len.into();
    }
}

fn manifest(composition: &Composition<'_>) -> Value {
    let Composition { board, toplevel, ids, closure, forest, places, boot_files, recipe, .. } = *composition;
    let closure = &forest.sources[..closure];
    let mut manifest = json!({
        "schema": SCHEMA,
        "nixflash": env!("CARGO_PKG_VERSION"),
        "board": board.name,
        "profileSha256": base_n::to_base16(&board.digest),
        "toplevel": toplevel.path.to_string(),
        "system": toplevel.system,
        "nixosVersion": toplevel.version,
        "identifiers": ids.shown,
        "partitions": partitions(board, ids),
        "bootFiles": boot_files.iter().filter(|file| file.offset.is_none()).collect::<Vec<_>>(),
        "rawFiles": boot_files.iter().filter(|file| file.offset.is_some()).collect::<Vec<_>>(),
        "firmware": firmware(places, forest),
        "closure": totals(closure),
        "storePaths": closure.iter().map(store_path_of).collect::<Vec<_>>(),
        "compose": recipe.json(),
    });
    if let Some(stores) = &recipe.record.stores {
        manifest["stores"] = json!(stores);
    }
    if let Some(configuration) = composition.configuration {
        manifest["configuration"] = json!(configuration);
        if !configuration.list.is_empty() {
            manifest["configuration"]["list"] = json!(configuration.list);
        }
    }
    if let Some(revision) = composition.system_revision {
        manifest["configurationRevision"] = revision.into();
    }
    let embedded = composition.configuration.and_then(|placed| placed.revision.as_ref()).map(Revision::shown);
    if let Some(revision) = embedded.or_else(|| composition.system_revision.map(str::to_owned)) {
        manifest["revision"] = revision.into();
    }
    manifest
}

fn store_path_of(packed: &Packed) -> Value {
    let info = &packed.info;
    let keys: Vec<&str> = info.signatures.iter().filter_map(|sig| Some(sig.split_once(':')?.0)).collect();
    json!({
        "path": info.path.to_string(),
        "narHash": nar_hash::show(&info.nar_hash),
        "narSize": info.nar_size,
        "signedBy": keys,
    })
}

/// The closure in two digests: of a line `PATH NARHASH NARSIZE` for each path, in order, and of one with the paths that
/// it refers to.
fn totals(closure: &[Packed]) -> Value {
    let mut hasher = Sha256::new();
    let mut references = Sha256::new();
    for Packed { info, .. } in closure {
        references.update(info.references_line());
        hasher.update(format!("{} {} {}\n", info.path, nar_hash::show(&info.nar_hash), info.nar_size));
    }
    json!({
        "paths": closure.len(),
        "narBytes": closure.iter().map(|packed| packed.info.nar_size).sum::<u64>(),
        "sha256": base_n::to_base16(&hasher.finalize()),
        "referencesSha256": base_n::to_base16(&references.finalize()),
    })
}

/// The packages that boot files are from.
pub fn firmware(places: &Places, forest: &Forest) -> Map<String, Value> {
    let entry = |source: u32, directory: &str| {
        let info = &forest.sources[ints::to_usize(u64::from(source))].info;
        let mut entry = json!({ "narHash": nar_hash::show(&info.nar_hash), "directory": directory });
        // A directory outside any store has a path made up of its hash and its name on the composing machine.
        if info.path.hash_part() != base_n::to_base32(&info.nar_hash[..20]) {
            entry["path"] = info.path.to_string().into();
        }
        entry
    };
    places.iter().map(|(key, place)| (key.clone(), entry(place.source, &place.directory))).collect()
}

fn partitions(board: &Board, ids: &Ids) -> Vec<Value> {
    (1..).zip(&board.partitions).map(|(number, partition)| entry(number, partition, ids)).collect()
}

fn entry(number: usize, partition: &Partition, ids: &Ids) -> Value {
    let Identifiers { partitions, root_label, root_uuid, boot_label, boot_volume_id, .. } = &ids.shown;
    let (file_system, label, uuid) = match partition.role {
        Role::Root => ("ext4", Some(root_label), Some(root_uuid)),
        _ => ("vfat", boot_label.as_ref(), boot_volume_id.as_ref()),
    };
    let (kind, name) = match partition.kind {
        PartitionType::Mbr(kind) => (format!("{kind:02x}"), None),
        PartitionType::Gpt(guid) => (guid.to_string(), ids.part_names.get(number - 1)),
    };
    json!({
        "number": number,
        "role": partition.role,
        "start": partition.start,
        "length": partition.size,
        "type": kind,
        "partuuid": partitions.get(number - 1),
        "name": name,
        "active": partition.active,
        "fileSystem": file_system,
        "label": label,
        "uuid": uuid,
    })
}

impl Recipe<'_> {
    fn json(&self) -> Value {
        let (kind, bytes) = match self.root_size {
            RootSize::Free(bytes) => ("free", bytes),
            RootSize::Image(bytes) => ("image", bytes),
            RootSize::Card(bytes) => ("card", bytes),
        };
        json!({
            "rootSize": { "kind": kind, "bytes": bytes },
            "bootSize": self.boot_size,
            "freeInodes": self.free_inodes,
            "epoch": self.epoch,
            "idSeed": self.id_seed,
            "generations": self.older.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "profile": self.record.profile,
            "configTxt": self.record.config_txt,
        })
    }
}

/// The contents of the `.minisig` of a manifest. Nothing in it depends on when or where it was signed, and its length
/// on the toplevel only.
pub fn signature(signing: &Signing, manifest: &str, toplevel: &Toplevel) -> String {
    match signing {
        Signing::As(signature) => signature.clone(),
        Signing::By(key) => {
            let trusted = format!("nixflash manifest of {}", toplevel.path.base_name());
            key.sign(manifest.as_bytes(), "signature of a nixflash manifest", &trusted)
        }
    }
}

/// The text of a manifest: indented, keys in order, a newline at the end.
fn text(manifest: &Value) -> String {
    format!("{manifest:#}\n")
}
