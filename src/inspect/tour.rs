//! The way through a disk: table, partitions, file systems, the NixOS on them.

use super::boot;
use super::nixos;
use super::report::Partition;
use super::report::Report;
use super::report::SCHEMA;
use super::report::State;
use super::report::TableKind;
use super::types;
use super::volume;
use super::volume::Fault;
use super::volume::Machine;
use super::volume::Volume;
use crate::format::disk::partition_table;
use crate::format::disk::partition_table::GptPartition;
use crate::format::disk::partition_table::MbrPartition;
use crate::format::disk::partition_table::SectorSize;
use crate::format::disk::partition_table::Table;
use crate::stream::ReadAt;
use crate::stream::Window;
use std::io;

/// The most file systems that are looked into: a table can name the same one thousands of times.
pub(super) const MAX_FILE_SYSTEMS: usize = 16;
/// The most boot entries of a card.
pub(super) const MAX_BOOT_ENTRIES: usize = 500;
/// The most characters that are shown of what manifests disagree about.
pub(super) const MAX_SHOWN: usize = 200;
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
        inputs: Vec::new(),
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
    let tour = Tour { disk, report, left: MAX_FILE_SYSTEMS, root: None, manifest: None };
    let mut report = tour.finish();
    if report.table.is_none() && report.partitions.iter().all(|partition| partition.file_system.is_none()) {
        report.partitions.clear();
        report.problems.push("there is neither a partition table nor a file system that is known".to_owned());
    }
    Ok(report)
}

/// Looks at the machine that runs: its NixOS, and what nixflash wrote about it.
#[must_use]
pub fn inspect_machine(machine: &dyn Machine) -> Report {
    let volume = Volume::Machine(machine);
    let mut problems = Vec::new();
    let provenance = nixos::manifest(&volume, &mut problems);
    // Whatever directory of the root it was put into, the running system has it here.
    let place = match nixos::configuration(provenance.as_ref()) {
        path if path.starts_with("/nix/") => path,
        _ => nixos::CONFIGURATION,
    };
    let nixos = nixos::look(&volume, (0, place), &mut problems);
    Report {
        schema: SCHEMA,
        bytes: 0,
        table: None,
        sector_bytes: 512,
        disk_id: None,
        partitions: Vec::new(),
        nixos,
        boot_entries: boot::entries(&volume, 0, MAX_BOOT_ENTRIES, &mut problems),
        inputs: nixos::inputs(&volume, place, &mut problems),
        provenance,
        problems,
    }
}

/// A look into one file system after the other. One is open at a time, for each can take much memory; the root, which
/// takes little, stays open.
pub(super) struct Tour<'a> {
    pub(super) disk: &'a dyn ReadAt,
    pub(super) report: Report,
    /// How many file systems may still be looked into.
    pub(super) left: usize,
    /// The root of the NixOS that was found.
    pub(super) root: Option<Volume<'a>>,
    /// What nixflash wrote about the card, and the number of the partition.
    pub(super) manifest: Option<(u32, serde_json::Value)>,
}

impl Tour<'_> {
    pub(super) fn finish(mut self) -> Report {
        for index in 0..self.report.partitions.len() {
            let number = self.report.partitions[index].number;
            if self.left == 0 {
                self.report.problems.push(format!(
                    "partition {number} and those after it are not looked into, for {MAX_FILE_SYSTEMS} file systems were"
                ));
                break;
            }
            let mut faults = Vec::new();
            self.visit(index, &mut faults);
            let faults = faults.into_iter().map(|fault| format!("partition {number}: {fault}"));
            self.report.problems.extend(faults);
        }
        self.check_init();
        self.report.provenance = self.manifest.map(|(_, manifest)| manifest);
        self.report
    }

    /// Looks into a partition.
    pub(super) fn visit(&mut self, index: usize, faults: &mut Vec<Fault>) {
        let partition = &mut self.report.partitions[index];
        let number = partition.number;
        let volume = match volume::open(Window::new(self.disk, partition.start, partition.bytes)) {
            Ok(Some(volume)) => volume,
            Ok(None) => return,
            Err(fault) => {
                // To find the fault may have been as much work as to read it all.
                self.left -= 1;
                return faults.push(fault);
            }
        };
        self.left -= 1;
        let file_system = volume.describe();
        if file_system.as_ref().is_some_and(|found| found.state == Some(State::Replay)) {
            faults.push(volume.replay_note());
        }
        partition.file_system = file_system;
        // Boot loaders know no mount points.
        let room = MAX_BOOT_ENTRIES - self.report.boot_entries.len();
        self.report.boot_entries.extend(boot::entries(&volume, number, room, faults));
        let volume = volume.mounted();
        let manifest = nixos::manifest(&volume, faults);
        let is_root = self.report.nixos.is_none() && {
            let place = nixos::configuration(manifest.as_ref());
            self.report.nixos = nixos::look(&volume, (number, place), faults);
            if self.report.nixos.is_some() {
                self.report.inputs = nixos::inputs(&volume, place, faults);
            }
            self.report.nixos.is_some()
        };
        if let Some(manifest) = manifest {
            self.keep(number, manifest, is_root);
        }
        if volume.is_exhausted() {
            faults.push("its directories are so large that not every file was looked for".to_owned());
        }
        if is_root {
            self.root = Some(volume);
        }
    }

    /// Keeps the first manifest, or that of the root, which says more; all must be about the same card.
    pub(super) fn keep(&mut self, number: u32, manifest: serde_json::Value, is_root: bool) {
        if let Some((first, kept)) = &self.manifest {
            for key in ["board", "toplevel"] {
                if kept[key] != manifest[key] {
                    self.report.problems.push(format!(
                        "partitions {first} and {number} disagree about the {key} that was composed: {} and {}",
                        start_of(&kept[key]),
                        start_of(&manifest[key])
                    ));
                }
            }
        }
        if is_root || self.manifest.is_none() {
            self.manifest = Some((number, manifest));
        }
    }

    /// Looks whether the systems that boot loaders name are on the root.
    pub(super) fn check_init(&mut self) {
        let Some(root) = &self.root else { return };
        for entry in &self.report.boot_entries {
            let init =
                entry.command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix("init="));
            if let Some(init) = init.filter(|init| init.starts_with("/nix/store/") && root.lacks(init)) {
                self.report.problems.push(format!(
                    "partition {}: {}: {} starts {init}, which is not there",
                    entry.partition, entry.file, entry.label
                ));
            }
        }
    }
}

/// The first of a text, or what is no text by its kind; a stranger's can be as long as the whole manifest.
pub(super) fn start_of(value: &serde_json::Value) -> String {
    match value.as_str() {
        Some(text) => format!("{:?}", text.chars().take(MAX_SHOWN).collect::<String>()),
        None if value.is_null() => "none".to_owned(),
        None => "no text".to_owned(),
    }
}
pub(super) fn whole(bytes: u64) -> Partition {
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
pub(super) fn of_mbr(disk_id: u32, partition: &MbrPartition) -> Partition {
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
pub(super) fn of_gpt(partition: &GptPartition, sector: SectorSize) -> Partition {
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
