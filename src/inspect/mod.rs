//! What can be learnt from an image or a card, without writing to it.
//!
//! Everything is optional: what is damaged becomes a line under `problems`, and the rest is still shown. Nothing that
//! is read is trusted, and nothing makes the work or the memory endless; see the readers below [`crate::format`].

mod boot;
mod nixos;
mod text;
mod types;
mod volume;

use crate::format::partition_table::{self, GptPartition, MbrPartition, SectorSize, Table};
use crate::stream::{ReadAt, Window};
use serde::Serialize;
use std::io;
use volume::Volume;

/// Names the form of the report.
pub const SCHEMA: &str = "nixflash-inspect/1";

/// What is on an image. As JSON, names are written in camel case; what is not known is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Names the form: `nixflash-inspect/1`. Later forms of the same name only add.
    pub schema: &'static str,
    /// Length of the image in bytes.
    pub bytes: u64,
    /// The kind of partition table; none when there is no table.
    pub table: Option<TableKind>,
    /// Bytes of a sector, in which the table counts.
    pub sector_bytes: u64,
    /// Disk id of an MBR (8 hexadecimal digits) or GUID of a GPT.
    pub disk_id: Option<String>,
    /// The partitions, in the order of the table; number 0 is a file system without a table.
    pub partitions: Vec<Partition>,
    /// The NixOS on it.
    pub nixos: Option<Nixos>,
    /// What boot loaders offer, on all partitions.
    pub boot_entries: Vec<BootEntry>,
    /// What nixflash wrote about it (`nixflash-manifest/1`), from the root or else from a FAT.
    pub provenance: Option<serde_json::Value>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// A kind of partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TableKind {
    /// DOS.
    Mbr,
    /// GUID.
    Gpt,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Partition {
    /// Its number.
    pub number: u32,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The type as written in the table: two hexadecimal digits, or a GUID.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the type means.
    pub type_name: Option<&'static str>,
    /// Whether it is flagged active (MBR) or legacy BIOS bootable (GPT).
    pub active: bool,
    /// The attribute bits of a GPT, 16 hexadecimal digits.
    pub attributes: Option<String>,
    /// The PARTUUID.
    pub part_uuid: String,
    /// The name in a GPT.
    pub name: Option<String>,
    /// The file system.
    pub file_system: Option<FileSystem>,
}

/// One file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSystem {
    /// `FAT12`, `FAT16`, `FAT32`, `ext2`, `ext3`, `ext4`.
    pub kind: String,
    /// Its label.
    pub label: String,
    /// UUID of ext4, volume id of a FAT, as in `/dev/disk/by-uuid`.
    pub uuid: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Inodes in all.
    pub inodes: Option<u32>,
    /// Inodes that are free.
    pub free_inodes: Option<u32>,
    /// The state of ext4.
    pub state: Option<State>,
    /// When it was made, seconds since 1970.
    pub created: Option<u64>,
    /// When it was mounted last, seconds since 1970; none for never.
    pub mounted: Option<u64>,
    /// Features of ext4.
    pub features: Vec<String>,
}

/// The state of an ext4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It was unmounted.
    Clean,
    /// It was not unmounted.
    NotUnmounted,
    /// Its journal must be replayed; what is shown is from before.
    Replay,
    /// The kernel has found errors in it.
    Errors,
}

/// A NixOS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Nixos {
    /// The number of the partition that is its root.
    pub partition: u32,
    /// The toplevel that the system profile leads to.
    pub toplevel: Option<String>,
    /// Its version: `25.11.20251120.abcdef`.
    pub version: Option<String>,
    /// What a boot menu calls it.
    pub label: Option<String>,
    /// Its platform: `aarch64-linux`.
    pub system: Option<String>,
    /// Its kernel.
    pub kernel: Option<String>,
    /// The version of its kernel, by its modules.
    pub kernel_version: Option<String>,
    /// Its initrd.
    pub initrd: Option<String>,
    /// Its init.
    pub init: Option<String>,
    /// Its kernel parameters, without `init=`.
    pub kernel_params: Vec<String>,
    /// The generations of the system profile, oldest first.
    pub generations: Vec<Generation>,
    /// How many store paths are registered.
    pub store_paths: Option<u64>,
    /// The sum of their NARs, in bytes.
    pub nar_bytes: Option<u64>,
    /// The names in `/etc/nixos`.
    pub configuration: Vec<String>,
}

/// One generation of the system profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// Its number.
    pub number: u32,
    /// Its toplevel.
    pub toplevel: String,
}

/// A boot loader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Loader {
    /// U-Boot with `extlinux.conf`.
    #[default]
    Extlinux,
    /// systemd-boot with an entry.
    SystemdBoot,
    /// systemd-boot with a unified kernel image.
    Unified,
    /// The firmware of a Raspberry Pi with `config.txt`.
    RaspberryPi,
}

/// One entry of a boot loader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BootEntry {
    /// Whose it is.
    pub loader: Loader,
    /// The number of the partition that it is on.
    pub partition: u32,
    /// The file that it is in.
    pub file: String,
    /// Its label, file name, or section of `config.txt`.
    pub label: String,
    /// What the menu calls it.
    pub title: String,
    /// The kernel, as written there, as is all that follows.
    pub kernel: String,
    /// The initrd.
    pub initrd: Option<String>,
    /// The device tree, or the directory of device trees.
    pub device_tree: Option<String>,
    /// The command line.
    pub command_line: String,
    /// Whether it is named as the default.
    pub is_default: bool,
}

/// Looks at an image or a card. An error is one of reading the device.
pub fn inspect(disk: &dyn ReadAt) -> io::Result<Report> {
    let reading = partition_table::read(disk)?;
    let mut report = Report {
        schema: SCHEMA,
        bytes: disk.size(),
        table: None,
        sector_bytes: reading.sector.bytes(),
        disk_id: None,
        partitions: Vec::new(),
        nixos: None,
        boot_entries: Vec::new(),
        provenance: None,
        problems: reading.problems.iter().map(ToString::to_string).collect(),
    };
    match &reading.table {
        Some(Table::Mbr(mbr)) => {
            report.table = Some(TableKind::Mbr);
            report.disk_id = Some(format!("{:08x}", mbr.disk_id));
            report.partitions = mbr.partitions.iter().map(|found| of_mbr(mbr.disk_id, found)).collect();
        }
        Some(Table::Gpt(gpt)) => {
            report.table = Some(TableKind::Gpt);
            report.disk_id = Some(gpt.disk_guid.to_string());
            report.partitions = gpt.partitions.iter().map(|found| of_gpt(found, reading.sector)).collect();
        }
        None => report.partitions.push(whole(disk.size())),
    }
    let volumes = open(disk, &mut report);
    if reading.table.is_none() && volumes.is_empty() {
        report.partitions.clear();
        report.problems.push("there is neither a partition table nor a file system that is known".to_owned());
    }
    look(&volumes, &mut report);
    Ok(report)
}

/// Opens the file system of each partition.
fn open<'a>(disk: &'a dyn ReadAt, report: &mut Report) -> Vec<(u32, Volume<'a>)> {
    let mut volumes = Vec::new();
    for partition in &mut report.partitions {
        let number = partition.number;
        match volume::open(Window::new(disk, partition.start, partition.bytes)) {
            Ok(Some(volume)) => {
                let file_system = volume.describe();
                if file_system.state == Some(State::Replay) {
                    report.problems.push(format!(
                        "partition {number}: its journal has to be replayed; what is shown is from before"
                    ));
                }
                partition.file_system = Some(file_system);
                volumes.push((number, volume));
            }
            Ok(None) => {}
            Err(fault) => report.problems.push(format!("partition {number}: {fault}")),
        }
    }
    volumes
}

/// Looks at what is in the file systems.
fn look(volumes: &[(u32, Volume<'_>)], report: &mut Report) {
    let mut manifests = Vec::new();
    for (number, volume) in volumes {
        let mut faults = Vec::new();
        if report.nixos.is_none() {
            report.nixos = nixos::look(volume, *number, &mut faults);
        }
        report.boot_entries.extend(boot::entries(volume, *number, &mut faults));
        if let Some(manifest) = nixos::manifest(volume, &mut faults) {
            manifests.push((*number, manifest));
        }
        report.problems.extend(faults.into_iter().map(|fault| format!("partition {number}: {fault}")));
    }
    check_init(volumes, report);
    check_manifests(&manifests, &mut report.problems);
    // That of the root says more.
    let root = report.nixos.as_ref().map(|nixos| nixos.partition);
    let best = manifests.iter().position(|(number, _)| Some(*number) == root).unwrap_or(0);
    report.provenance = manifests.into_iter().nth(best).map(|(_, manifest)| manifest);
}

/// Looks whether the systems that boot loaders name are on the root.
fn check_init(volumes: &[(u32, Volume<'_>)], report: &mut Report) {
    let root = report.nixos.as_ref().map(|nixos| nixos.partition);
    let Some((_, root)) = volumes.iter().find(|(number, _)| Some(*number) == root) else { return };
    for entry in &report.boot_entries {
        let init = entry.command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix("init="));
        if let Some(init) = init.filter(|init| init.starts_with("/nix/store/") && root.lacks(init)) {
            report.problems.push(format!(
                "partition {}: {}: {} starts {init}, which is not there",
                entry.partition, entry.file, entry.label
            ));
        }
    }
}

/// Looks whether all that nixflash wrote is about the same card.
fn check_manifests(manifests: &[(u32, serde_json::Value)], problems: &mut Vec<String>) {
    for pair in manifests.windows(2) {
        let [(first, a), (second, b)] = pair else { continue };
        for key in ["board", "toplevel"] {
            if a[key] != b[key] {
                problems.push(format!(
                    "partitions {first} and {second} disagree about the {key} that was composed: {} and {}",
                    a[key], b[key]
                ));
            }
        }
    }
}

fn whole(bytes: u64) -> Partition {
    Partition {
        number: 0,
        start: 0,
        bytes,
        kind: String::new(),
        type_name: None,
        active: false,
        attributes: None,
        part_uuid: String::new(),
        name: None,
        file_system: None,
    }
}

fn of_mbr(disk_id: u32, partition: &MbrPartition) -> Partition {
    Partition {
        number: partition.number,
        start: partition.start.saturating_mul(512),
        bytes: partition.sectors.saturating_mul(512),
        kind: format!("{:02x}", partition.kind),
        type_name: types::of_mbr(partition.kind),
        active: partition.active,
        attributes: None,
        part_uuid: format!("{disk_id:08x}-{:02x}", partition.number),
        name: None,
        file_system: None,
    }
}

fn of_gpt(partition: &GptPartition, sector: SectorSize) -> Partition {
    let guid = partition.type_guid.to_string();
    Partition {
        number: partition.number,
        start: partition.start.saturating_mul(sector.bytes()),
        bytes: partition.sectors.saturating_mul(sector.bytes()),
        type_name: types::of_gpt(&guid),
        kind: guid,
        active: partition.attributes & 4 != 0,
        attributes: Some(format!("{:016x}", partition.attributes)),
        part_uuid: partition.unique_guid.to_string(),
        name: Some(partition.name.clone()),
        file_system: None,
    }
}
