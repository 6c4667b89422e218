//! A report for people.

use super::{Partition, Report};
use crate::num::show_bytes;

impl Report {
    /// The report in lines. Control characters of what was read are still in it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![format!("image      {} ({} bytes)", show_bytes(self.bytes), self.bytes)];
        if let (Some(table), Some(id)) = (self.table, &self.disk_id) {
            lines.push(format!("table      {}, id {id}", table.to_uppercase()));
        }
        for partition in &self.partitions {
            lines.extend(partition.lines());
        }
        self.nixos_lines(&mut lines);
        self.provenance_lines(&mut lines);
        for problem in &self.problems {
            lines.push(format!("problem    {problem}"));
        }
        lines.join("\n") + "\n"
    }

    fn nixos_lines(&self, lines: &mut Vec<String>) {
        let Some(nixos) = &self.nixos else {
            lines.push("NixOS      none found".to_owned());
            return;
        };
        let mut line = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                lines.push(format!("{name:10} {value}"));
            }
        };
        line("NixOS", &nixos.version);
        line("system", &nixos.system);
        line("toplevel", &nixos.toplevel);
        line("kernel", &nixos.kernel);
        line("initrd", &nixos.initrd);
        line("parameters", &(!nixos.kernel_params.is_empty()).then(|| nixos.kernel_params.join(" ")));
        if let (Some(paths), Some(bytes)) = (nixos.store_paths, nixos.nar_bytes) {
            lines.push(format!("closure    {paths} store paths, {}", show_bytes(bytes)));
        }
        for (number, toplevel) in &nixos.generations {
            lines.push(format!("generation {number}: {toplevel}"));
        }
        for entry in &nixos.boot_entries {
            lines.push(format!("boots      {}: {} -> {}", entry.file, entry.label, entry.kernel));
        }
        if !nixos.configuration.is_empty() {
            lines.push(format!("/etc/nixos {}", nixos.configuration.join(" ")));
        }
    }

    fn provenance_lines(&self, lines: &mut Vec<String>) {
        let Some(provenance) = &self.provenance else { return };
        let text = |key: &str| provenance[key].as_str().unwrap_or("?").to_owned();
        lines.push(format!("made by    nixflash {} for the board {}", text("nixflash"), text("board")));
        if let Some(revision) = provenance["revision"].as_str() {
            lines.push(format!("revision   {revision}"));
        }
    }
}

impl Partition {
    fn lines(&self) -> Vec<String> {
        let active = if self.active { ", active" } else { "" };
        let name = self.name.as_ref().map(|name| format!(", {name:?}")).unwrap_or_default();
        let kind = self.type_name.map_or_else(|| self.kind.clone(), str::to_owned);
        let mut lines = vec![format!(
            "{:<10} {} at {}, {kind}{name}{active}",
            self.number,
            show_bytes(self.bytes),
            show_bytes(self.start)
        )];
        if !self.part_uuid.is_empty() {
            lines.push(format!("           PARTUUID {}", self.part_uuid));
        }
        if let Some(fs) = &self.file_system {
            let state = fs.state.map(|state| format!(", {state}")).unwrap_or_default();
            lines.push(format!("           {} {:?}, UUID {}{state}", fs.kind, fs.label, fs.uuid));
            let inodes = fs.free_inodes.map(|free| format!(", {free} inodes free")).unwrap_or_default();
            lines.push(format!("           {}, {} free{inodes}", show_bytes(fs.bytes), show_bytes(fs.free)));
        }
        lines
    }
}
