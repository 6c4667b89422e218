//! A plan for people and programs.

use crate::board::{Board, Role, TableKind};
use crate::card::manifest::Identifiers;
use crate::compose::content::Content;
use crate::compose::demands::Contract;
use crate::compose::request::configuration::Placed;
use crate::extent::Layout;
use crate::format::disk::ext4::Ext4;
use crate::format::disk::fat::Fat;

/// One partition of a plan, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionSummary {
    /// What it is for.
    pub role: Role,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub len: u64,
    /// The kind of file system.
    pub file_system: String,
    /// Its label.
    pub label: String,
    /// Bytes free for files.
    pub free: u64,
}

/// A plan for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Names the form: `nixflash-plan/1`.
    pub schema: &'static str,
    /// The board.
    pub board: String,
    /// The toplevel.
    pub toplevel: String,
    /// The NixOS version.
    pub nixos_version: String,
    /// How many store paths the closure has.
    pub store_paths: usize,
    /// The sum of their NARs, in bytes.
    pub nar_bytes: u64,
    /// Length of the image in bytes.
    pub image_bytes: u64,
    /// Bytes of it that are data or zeros to rely on.
    pub mapped_bytes: u64,
    /// The kind of partition table.
    pub table: TableKind,
    /// Identifiers.
    pub identifiers: Identifiers,
    /// The partitions.
    pub partitions: Vec<PartitionSummary>,
    /// Inodes on the root, and how many are free.
    pub root_inodes: u64,
    /// Free inodes on the root.
    pub root_free_inodes: u64,
    /// Packages of firmware: key and path.
    pub firmware: Vec<(String, String)>,
    /// The configuration that is embedded.
    pub configuration: Option<Placed>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// The partitions of a plan.
pub fn partitions(
    board: &Board,
    shown: &Identifiers,
    boot_fat: Option<&Fat<Content>>,
    ext4: &Ext4<Content>,
) -> Vec<PartitionSummary> {
    let boot = board.boot_fat().zip(boot_fat).map(|((_, partition), fat)| PartitionSummary {
        role: partition.role,
        start: partition.start,
        len: fat.len(),
        file_system: fat.summary().kind.to_string(),
        label: shown.boot_label.clone().unwrap_or_default(),
        free: fat.summary().free_bytes,
    });
    let root = PartitionSummary {
        role: Role::Root,
        start: board.root().start,
        len: ext4.len(),
        file_system: "ext4".to_owned(),
        label: shown.root_label.clone(),
        free: ext4.summary().free_bytes(),
    };
    boot.into_iter().chain([root]).collect()
}

/// Identifiers that cards of one system share although the user wants them to differ.
pub fn clashes(seed: Option<&str>, contract: &Contract) -> Vec<String> {
    if seed.is_none() {
        return Vec::new();
    }
    let demands = [&contract.root, &contract.boot];
    let fixed = demands.iter().flat_map(|demand| {
        [
            ("label", &demand.label),
            ("UUID", &demand.uuid),
            ("PARTUUID", &demand.partuuid),
            ("PARTLABEL", &demand.partlabel),
        ]
    });
    let fixed = fixed.filter_map(|(what, value)| Some((what, value.as_ref()?)));
    let say = |(what, value)| {
        format!(
            "the system demands the {what} {value}: two such cards in one machine clash, whatever --id-seed says"
        )
    };
    fixed.map(say).collect()
}
