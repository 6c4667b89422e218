//! What can be learnt from an image or a card, without writing to it.
//!
//! Everything is optional: what is damaged becomes a line under `problems`, and the rest is still shown.

mod nixos;
mod text;

pub use nixos::{BootEntry, Nixos};

use crate::format::ext4_read::{self, Ext4};
use crate::format::fat::volume::{self, Volume};
use crate::format::partition_table::{self, SectorSize, Table};
use crate::stream::{ReadAt, Window};
use serde::Serialize;
use std::io;

/// Names the form of the report.
pub const SCHEMA: &str = "nixflash-inspect/1";

/// What is on an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Names the form: `nixflash-inspect/1`.
    pub schema: &'static str,
    /// Length of the image in bytes.
    pub bytes: u64,
    /// The kind of partition table: `mbr`, `gpt`; none when there is no table.
    pub table: Option<&'static str>,
    /// Disk id of an MBR (8 hexadecimal digits) or GUID of a GPT.
    pub disk_id: Option<String>,
    /// The partitions, in the order of the table.
    pub partitions: Vec<Partition>,
    /// The NixOS on it.
    pub nixos: Option<Nixos>,
    /// What nixflash wrote about it.
    pub provenance: Option<serde_json::Value>,
    /// What is wrong.
    pub problems: Vec<String>,
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
    /// The type as written in the table.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the type means.
    pub type_name: Option<&'static str>,
    /// Whether it is flagged active (MBR) or legacy BIOS bootable (GPT).
    pub active: bool,
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
    /// `FAT16`, `FAT32`, `ext4`.
    pub kind: String,
    /// Its label.
    pub label: String,
    /// UUID of ext4, volume id of a FAT.
    pub uuid: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Inodes in all.
    pub inodes: Option<u32>,
    /// Inodes that are free.
    pub free_inodes: Option<u32>,
    /// `clean`, `not unmounted` or `journal to be replayed`.
    pub state: Option<&'static str>,
    /// Features of ext4.
    pub features: Vec<String>,
}

type Part<'a> = Window<&'a dyn ReadAt>;

/// The file systems that were opened, with the numbers of their partitions.
struct Volumes<'a> {
    fats: Vec<(u32, Volume<Part<'a>>)>,
    ext4s: Vec<(u32, Ext4<Part<'a>>)>,
}

/// Looks at an image or a card.
pub fn inspect(disk: &dyn ReadAt) -> io::Result<Report> {
    let reading = partition_table::read(disk)?;
    let unit = reading.sector.bytes();
    let mut report = Report {
        schema: SCHEMA,
        bytes: disk.size(),
        table: None,
        disk_id: None,
        partitions: Vec::new(),
        nixos: None,
        provenance: None,
        problems: reading.problems.iter().map(ToString::to_string).collect(),
    };
    match &reading.table {
        Some(Table::Mbr(mbr)) => {
            report.table = Some("mbr");
            report.disk_id = Some(format!("{:08x}", mbr.disk_id));
            report.partitions =
                mbr.partitions.iter().map(|partition| of_mbr(mbr.disk_id, partition)).collect();
        }
        Some(Table::Gpt(gpt)) => {
            report.table = Some("gpt");
            report.disk_id = Some(gpt.disk_guid.to_string());
            report.partitions =
                gpt.partitions.iter().map(|partition| of_gpt(partition, reading.sector)).collect();
        }
        // A file system without a table, or nothing.
        None => report.partitions.push(whole(disk.size(), unit)),
    }
    let mut volumes = Volumes { fats: Vec::new(), ext4s: Vec::new() };
    for partition in &mut report.partitions {
        let window = Window::new(disk, partition.start, partition.bytes);
        partition.file_system = volumes.open(partition.number, window, &mut report.problems);
    }
    if reading.table.is_none() && report.partitions[0].file_system.is_none() {
        report.partitions.clear();
        report.problems.push("there is neither a partition table nor a file system".to_owned());
    }
    nixos::look(&volumes, &mut report);
    Ok(report)
}

fn whole(bytes: u64, _unit: u64) -> Partition {
    let (kind, part_uuid) = (String::new(), String::new());
    Partition {
        number: 0,
        start: 0,
        bytes,
        kind,
        type_name: None,
        active: false,
        part_uuid,
        name: None,
        file_system: None,
    }
}

fn of_mbr(disk_id: u32, partition: &partition_table::MbrPartition) -> Partition {
    Partition {
        number: partition.number,
        start: partition.start.saturating_mul(512),
        bytes: partition.sectors.saturating_mul(512),
        kind: format!("{:02x}", partition.kind),
        type_name: mbr_type(partition.kind),
        active: partition.active,
        part_uuid: format!("{disk_id:08x}-{:02x}", partition.number),
        name: None,
        file_system: None,
    }
}

fn of_gpt(partition: &partition_table::GptPartition, sector: SectorSize) -> Partition {
    let guid = partition.type_guid.to_string();
    Partition {
        number: partition.number,
        start: partition.start.saturating_mul(sector.bytes()),
        bytes: partition.sectors.saturating_mul(sector.bytes()),
        type_name: gpt_type(&guid),
        kind: guid,
        active: partition.attributes & 4 != 0,
        part_uuid: partition.unique_guid.to_string(),
        name: Some(partition.name.clone()),
        file_system: None,
    }
}

const fn mbr_type(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0x05 | 0x0f | 0x85 => "extended",
        0x06 | 0x0e => "FAT16",
        0x0b | 0x0c => "FAT32",
        0x82 => "Linux swap",
        0x83 => "Linux",
        0x8e => "Linux LVM",
        0xef => "EFI system",
        0xfd => "Linux RAID",
        _ => return None,
    })
}

/// Names of the Discoverable Partitions Specification.
fn gpt_type(guid: &str) -> Option<&'static str> {
    Some(match guid {
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" => "EFI system",
        "bc13c2ff-59e6-4262-a352-b275fd6f7172" => "extended boot loader",
        "b921b045-1df0-41c3-af44-4c6f280d3fae" => "Linux root (arm64)",
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709" => "Linux root (x86-64)",
        "0fc63daf-8483-4772-8e79-3d69d8477de4" => "Linux",
        "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f" => "Linux swap",
        "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7" => "basic data",
        _ => return None,
    })
}

impl<'a> Volumes<'a> {
    fn open(&mut self, number: u32, window: Part<'a>, problems: &mut Vec<String>) -> Option<FileSystem> {
        match Ext4::open(window) {
            Ok(ext4) => {
                let shown = of_ext4(&ext4);
                self.ext4s.push((number, ext4));
                return Some(shown);
            }
            Err(ext4_read::Error::None) => {}
            Err(error) => {
                problems.push(format!("partition {number}: {error}"));
                return None;
            }
        }
        match volume::open(window) {
            Ok(fat) => {
                let id = fat.volume_id();
                let shown = FileSystem {
                    kind: fat.kind().to_string(),
                    label: fat.label().to_owned(),
                    uuid: format!("{:04X}-{:04X}", id >> 16, id & 0xffff),
                    bytes: fat.size(),
                    free: fat.free_bytes(),
                    inodes: None,
                    free_inodes: None,
                    state: None,
                    features: Vec::new(),
                };
                self.fats.push((number, fat));
                Some(shown)
            }
            Err(volume::Error::Boot { .. }) => None,
            Err(error) => {
                problems.push(format!("partition {number}: {error}"));
                None
            }
        }
    }
}

fn of_ext4(ext4: &Ext4<Part<'_>>) -> FileSystem {
    let sb = &ext4.superblock;
    let state = match (sb.needs_recovery, sb.clean) {
        (true, _) => "journal to be replayed",
        (false, true) => "clean",
        (false, false) => "not unmounted",
    };
    FileSystem {
        kind: "ext4".to_owned(),
        label: sb.label.clone(),
        uuid: sb.uuid.to_string(),
        bytes: sb.bytes(),
        free: sb.free_blocks.saturating_mul(sb.block_size),
        inodes: Some(sb.inodes),
        free_inodes: Some(sb.free_inodes),
        state: Some(state),
        features: sb.features.clone(),
    }
}
