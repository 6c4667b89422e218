//! The identifiers of a card: those that the system demands, those of the profile, or derived ones.

use super::identity::Identity;
use crate::board::{Board, TableKind};
use crate::card::manifest::Identifiers;
use crate::compose::demands;
use crate::compose::demands::{Contract, Demand};
use crate::compose::error::Error;
use crate::format::disk::{ext4, fat};
use crate::ints;

const SECTOR: u64 = 512;

/// Identifiers in the form that the formats take.
pub struct Ids {
    /// As they are shown.
    pub shown: Identifiers,
    /// Of an MBR.
    pub disk_id: u32,
    /// Of a GPT.
    pub disk_guid: uuid::Uuid,
    /// GUIDs of the partitions of a GPT.
    pub part_guids: Vec<uuid::Uuid>,
    /// Names of the partitions of a GPT.
    pub part_names: Vec<String>,
    root_uuid: uuid::Uuid,
    hash_seed: uuid::Uuid,
    volume_id: u32,
    boot_label: String,
}

impl Ids {
    /// Decides them.
    pub fn new(board: &Board, demands: &Contract, identity: &Identity) -> Result<Self, String> {
        let root_number =
            u32::try_from(board.partitions.len()).map_err(|_| "too many partitions".to_owned())?;
        let boot = board.boot_fat();
        let (root_label, boot_label) = labels(board, demands);
        let mut ids = Self {
            shown: Identifiers {
                disk: String::new(),
                partitions: Vec::new(),
                root_label,
                root_uuid: String::new(),
                boot_label: None,
                boot_volume_id: None,
            },
            disk_id: board.disk_id.unwrap_or_else(|| identity.id32("disk id")),
            disk_guid: identity.uuid("disk GUID"),
            part_guids: (1..=root_number).map(|n| identity.uuid(&format!("partition {n}"))).collect(),
            part_names: names(board, demands),
            root_uuid: identity.uuid("root file system"),
            hash_seed: identity.uuid("root hash seed"),
            volume_id: identity.id32("boot volume id"),
            boot_label,
        };
        if let Some((number, partition)) = boot {
            ids.volume_id = match &demands.boot.uuid {
                Some(uuid) => demands::volume_id(uuid).ok_or_else(|| unmet("UUID", uuid))?,
                None => partition.volume_id.unwrap_or(ids.volume_id),
            };
            ids.shown.boot_label = Some(ids.boot_label.clone());
            ids.shown.boot_volume_id =
                Some(format!("{:04X}-{:04X}", ids.volume_id >> 16, ids.volume_id & 0xffff));
            ids.take_partition(number, &demands.boot, board.table)?;
        }
        if let Some(uuid) = &demands.root.uuid {
            ids.root_uuid = uuid::Uuid::try_parse(uuid).map_err(|_| unmet("UUID", uuid))?;
        }
        ids.take_partition(root_number, &demands.root, board.table)?;
        ids.shown.root_uuid = ids.root_uuid.to_string();
        match board.table {
            TableKind::Mbr => {
                ids.shown.disk = format!("{:08x}", ids.disk_id);
                ids.shown.partitions =
                    (1..=root_number).map(|n| format!("{:08x}-{n:02x}", ids.disk_id)).collect();
            }
            TableKind::Gpt => {
                ids.shown.disk = ids.disk_guid.to_string();
                ids.shown.partitions = ids.part_guids.iter().map(ToString::to_string).collect();
            }
        }
        Ok(ids)
    }

    /// Takes over what is demanded of the table's entry for partition `number`.
    fn take_partition(&mut self, number: u32, demand: &Demand, table: TableKind) -> Result<(), String> {
        let at = ints::to_usize(u64::from(number)) - 1;
        if let Some(partuuid) = &demand.partuuid {
            let unmet = || unmet("PARTUUID", partuuid);
            match table {
                TableKind::Mbr => self.disk_id = demands::disk_id_of(partuuid, number).ok_or_else(unmet)?,
                TableKind::Gpt => {
                    self.part_guids[at] = uuid::Uuid::try_parse(partuuid).map_err(|_| unmet())?
                }
            }
        }
        if let Some(name) = &demand.partlabel {
            match table {
                TableKind::Mbr => return Err(unmet("PARTLABEL", name)),
                TableKind::Gpt => self.part_names[at].clone_from(name),
            }
        }
        Ok(())
    }

    /// What the ext4 is made with; `front` is the directory whose files come first in it.
    pub fn ext4(
        &self,
        size: ext4::Size,
        epoch: u32,
        purpose: ext4::Purpose,
        front: &str,
    ) -> Result<ext4::Options, Error> {
        Ok(ext4::Options {
            size,
            uuid: *self.root_uuid.as_bytes(),
            hash_seed: *self.hash_seed.as_bytes(),
            label: ext4::Label::new(self.shown.root_label.as_bytes())?,
            epoch,
            purpose,
            front: front.to_owned(),
        })
    }

    /// What the FAT is made with.
    pub fn fat(&self, partition: &crate::board::Partition, epoch: u32) -> Result<fat::Options, Error> {
        Ok(fat::Options {
            size: partition.size.unwrap_or(0),
            label: fat::Label::new(&self.boot_label)?,
            volume_id: self.volume_id,
            kind: fat::Kind::Auto,
            // cannot fail: profiles keep partitions below 2^41 bytes
            hidden_sectors: u32::try_from(partition.start / SECTOR).unwrap_or(0),
            epoch,
        })
    }
}

/// The labels of the root and of the FAT: what is demanded, or the profile's. Where the demand for one is what the profile
/// has for the other, that one steps aside, so that `by-label` means one partition.
fn labels(board: &Board, demands: &Contract) -> (String, String) {
    let fat = board.boot_fat().map(|(_, partition)| partition.label.clone()).unwrap_or_default();
    apart((&demands.root.label, &board.root().label, "NIXOS_ROOT"), (&demands.boot.label, &fat, "NIXOS_BOOT"))
}

/// The names of partitions in a GPT, in the same way; those of the root and of the FAT are taken over afterwards.
fn names(board: &Board, demands: &Contract) -> Vec<String> {
    let mut names: Vec<String> = board.partitions.iter().map(|partition| partition.name.clone()).collect();
    let (Some((number, fat)), TableKind::Gpt) = (board.boot_fat(), board.table) else { return names };
    let (root, boot) = apart(
        (&demands.root.partlabel, &board.root().name, "nixos-root"),
        (&demands.boot.partlabel, &fat.name, "nixos-boot"),
    );
    names[ints::to_usize(u64::from(number)) - 1] = boot;
    if let Some(last) = names.last_mut() {
        *last = root;
    }
    names
}

/// What is demanded of two, what they have without a word, and what else they may have: never the same.
fn apart(one: Choice<'_>, two: Choice<'_>) -> (String, String) {
    let usual = |(demand, usual, _): Choice<'_>| demand.clone().unwrap_or_else(|| usual.clone());
    let (first, second) = (usual(one), usual(two));
    match (one, two) {
        _ if first != second => (first, second),
        ((None, _, other), _) => (other.to_owned(), second),
        (_, (None, _, other)) => (first, other.to_owned()),
        // The contract has refused it.
        _ => (first, second),
    }
}

/// What is demanded, what a profile has, and what takes its place.
type Choice<'a> = (&'a Option<String>, &'a String, &'a str);

/// The contract refuses these before, with the line that they stand in.
fn unmet(what: &str, value: &str) -> String {
    format!("it demands the {what} {value:?}, which this card cannot have")
}
