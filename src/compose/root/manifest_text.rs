//! What a card says of itself: `/nix/var/nixflash/manifest.json` on the root, `nixflash.json` on the FAT.
//!
//! `docs/manifest.md` is the schema. No clock, no host, no path of the composing machine goes in, and nothing that
//! depends on the store that a path came from: the same closure gives the same bits from everywhere.

use super::boot_digests::BootFile;
use crate::base_n;
use crate::board::{Board, Partition, PartitionType, Role};
use crate::card::manifest::{
    self, Identifiers, Manifest, Package, RawFile, RootSizeKind, SCHEMA, StorePathEntry, Totals,
};
use crate::compose::closure::{Forest, Packed};
use crate::compose::firmware::package::{Place, Places};
use crate::compose::plan::ids::Ids;
use crate::compose::request::composition::{Record, RootSize, Signing};
use crate::compose::request::configuration::{Access, Placed, Revision};
use crate::compose::system::toplevel::Toplevel;
use crate::format::nix::nar_hash;
use crate::format::nix::store_path::StorePath;
use crate::ints;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

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
    manifest: Manifest,
    room: usize,
}

impl Draft {
    /// Collects what the manifest says.
    pub fn new(composition: &Composition<'_>) -> Self {
        let mut manifest = manifest(composition);
        // No number is longer, so that the finished text fits into as many bytes.
        set_root_len(&mut manifest, u64::MAX);
        let room = manifest.text().len();
        Self { manifest, room }
    }

    /// The length of the finished text in bytes.
    pub const fn room(&self) -> usize {
        self.room
    }

    /// Puts in the length of the root. What is left of the room is white space before the last newline.
    pub fn finish(mut self, root_len: u64) -> Finished {
        set_root_len(&mut self.manifest, root_len);
        let mut full = self.manifest.text();
        full.pop();
        full.push_str(&" ".repeat(self.room - 1 - full.len()));
        full.push('\n');
        Finished { manifest: self.manifest, text: full }
    }
}

/// A manifest that will not change any more.
pub struct Finished {
    manifest: Manifest,
    /// Its text.
    pub text: String,
}

impl Finished {
    /// The text for the FAT.
    pub fn fat_copy(self) -> String {
        self.manifest.for_fat(&self.text).text()
    }
}

fn set_root_len(manifest: &mut Manifest, len: u64) {
    if let Some(root) = manifest.partitions.last_mut() {
        root.length = Some(len);
    }
}

fn manifest(composition: &Composition<'_>) -> Manifest {
    let Composition { board, toplevel, ids, closure, forest, places, boot_files, recipe, .. } = *composition;
    let closure = &forest.sources[..closure];
    let system_revision = composition.system_revision.map(str::to_owned);
    let embedded = composition.configuration.and_then(|placed| placed.revision.as_ref()).map(Revision::shown);
    Manifest {
        schema: SCHEMA.to_owned(),
        nixflash: env!("CARGO_PKG_VERSION").to_owned(),
        board: board.name.clone(),
        profile_sha256: base_n::to_base16(&board.digest),
        toplevel: toplevel.path.to_string(),
        system: toplevel.system.clone(),
        nixos_version: toplevel.version.clone(),
        revision: embedded.or_else(|| system_revision.clone()),
        configuration_revision: system_revision,
        identifiers: ids.shown.clone(),
        partitions: partitions(board, ids),
        boot_files: boot_files.iter().filter_map(in_partition).collect(),
        raw_files: boot_files.iter().filter_map(outside).collect(),
        firmware: packages(places, forest),
        closure: totals(closure),
        store_paths: Some(closure.iter().map(store_path_of).collect()),
        configuration: composition.configuration.map(configuration),
        compose: recipe.recorded(),
        stores: recipe.record.stores.clone(),
        manifest_sha256: None,
    }
}

fn in_partition(file: &BootFile) -> Option<manifest::BootFile> {
    if file.offset.is_some() {
        return None;
    }
    Some(manifest::BootFile {
        partition: ints::to_u64(file.partition),
        path: file.path.clone(),
        size: file.size,
        sha256: base_n::to_base16(&file.sha256),
    })
}

fn outside(file: &BootFile) -> Option<RawFile> {
    let offset = Some(file.offset?);
    Some(RawFile { offset, size: Some(file.size), sha256: Some(base_n::to_base16(&file.sha256)) })
}

fn configuration(placed: &Placed) -> manifest::Configuration {
    manifest::Configuration {
        path: placed.path.to_owned(),
        nar_hash: nar_hash::show(&placed.nar_hash),
        files: ints::to_u64(placed.files),
        bytes: placed.bytes,
        revision: placed.revision.as_ref().map(|revision| revision.name.clone()),
        dirty: placed.revision.as_ref().map(|revision| revision.is_dirty),
        private: placed.access == Access::Root,
        list: placed.list.clone(),
    }
}

fn store_path_of(packed: &Packed) -> StorePathEntry {
    let info = &packed.info;
    let keys = info.signatures.iter().filter_map(|sig| Some(sig.split_once(':')?.0.to_owned()));
    StorePathEntry {
        path: info.path.to_string(),
        nar_hash: nar_hash::show(&info.nar_hash),
        nar_size: info.nar_size,
        signed_by: keys.collect(),
    }
}

/// The closure in two digests: of a line `PATH NARHASH NARSIZE` for each path, in order, and of one with the paths that
/// it refers to.
fn totals(closure: &[Packed]) -> Totals {
    let mut hasher = Sha256::new();
    let mut references = Sha256::new();
    for Packed { info, .. } in closure {
        references.update(info.references_line());
        hasher.update(format!("{} {} {}\n", info.path, nar_hash::show(&info.nar_hash), info.nar_size));
    }
    Totals {
        paths: ints::to_u64(closure.len()),
        nar_bytes: closure.iter().map(|packed| packed.info.nar_size).sum(),
        sha256: base_n::to_base16(&hasher.finalize()),
        references_sha256: base_n::to_base16(&references.finalize()),
    }
}

/// The packages that boot files are from.
pub fn packages(places: &Places, forest: &Forest) -> BTreeMap<String, Package> {
    let package = |place: &Place| {
        let info = &forest.sources[ints::to_usize(u64::from(place.source))].info;
        // A directory outside any store has a path made up of its hash and its name on the composing machine.
        let is_made_up = info.path.hash_part() == base_n::to_base32(&info.nar_hash[..20]);
        Package {
            path: (!is_made_up).then(|| info.path.to_string()),
            nar_hash: Some(nar_hash::show(&info.nar_hash)),
            directory: place.directory.clone(),
        }
    };
    places.iter().map(|(key, place)| (key.clone(), package(place))).collect()
}

fn partitions(board: &Board, ids: &Ids) -> Vec<manifest::Partition> {
    (1..).zip(&board.partitions).map(|(number, partition)| entry(number, partition, ids)).collect()
}

fn entry(number: usize, partition: &Partition, ids: &Ids) -> manifest::Partition {
    let Identifiers { partitions, root_label, root_uuid, boot_label, boot_volume_id, .. } = &ids.shown;
    let (file_system, label, uuid) = match partition.role {
        Role::Root => ("ext4", Some(root_label), Some(root_uuid)),
        _ => ("vfat", boot_label.as_ref(), boot_volume_id.as_ref()),
    };
    let (kind, name) = match partition.kind {
        PartitionType::Mbr(kind) => (format!("{kind:02x}"), None),
        PartitionType::Gpt(guid) => (guid.to_string(), ids.part_names.get(number - 1)),
    };
    manifest::Partition {
        number: Some(ints::to_u64(number)),
        role: Some(partition.role.name().to_owned()),
        start: Some(partition.start),
        length: partition.size,
        kind: Some(kind),
        partuuid: partitions.get(number - 1).cloned(),
        name: name.cloned(),
        active: Some(partition.active),
        file_system: Some(file_system.to_owned()),
        label: label.cloned(),
        uuid: uuid.cloned(),
    }
}

impl Recipe<'_> {
    fn recorded(&self) -> manifest::Recipe {
        let (kind, bytes) = match self.root_size {
            RootSize::Free(bytes) => (RootSizeKind::Free, bytes),
            RootSize::Image(bytes) => (RootSizeKind::Image, bytes),
            RootSize::Card(bytes) => (RootSizeKind::Card, bytes),
        };
        manifest::Recipe {
            root_size: Some(manifest::RootSize { kind, bytes }),
            boot_size: self.boot_size,
            free_inodes: Some(self.free_inodes.into()),
            epoch: Some(self.epoch.into()),
            id_seed: self.id_seed.map(str::to_owned),
            generations: self.older.iter().map(ToString::to_string).collect(),
            profile: self.record.profile.clone(),
            config_txt: self.record.config_txt.clone(),
        }
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
