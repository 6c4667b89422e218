//! A plan for people.

use super::summary::Summary;
use crate::board::{Role, TableKind};
use crate::sizes::show_bytes;

impl Summary {
    /// The plan in lines of at most 80 columns, where names allow it.
    #[must_use]
    pub fn text(&self) -> String {
        let table = match self.table {
            TableKind::Mbr => "MBR",
            TableKind::Gpt => "GPT",
        };
        let mut lines = vec![
            format!("board      {}", self.board),
            format!("toplevel   {}", self.toplevel),
            format!("NixOS      {}", self.nixos_version),
            format!("closure    {} store paths, {}", self.store_paths, show_bytes(self.nar_bytes)),
            format!(
                "image      {}, {} of it used",
                show_bytes(self.image_bytes),
                show_bytes(self.mapped_bytes)
            ),
            format!("table      {table}, id {}", self.identifiers.disk),
        ];
        for ((number, partition), id) in (1..).zip(&self.partitions).zip(&self.identifiers.partitions) {
            let role = match partition.role {
                Role::Firmware => "firmware",
                Role::Esp => "esp",
                Role::Root => "root",
            };
            let (start, len, free) =
                (show_bytes(partition.start), show_bytes(partition.len), show_bytes(partition.free));
            lines.push(format!(
                "{number} {role:8} {len} at {start}, {} {:?}, {free} free",
                partition.file_system, partition.label
            ));
            lines.push(format!("           PARTUUID {id}"));
        }
        lines.push(format!(
            "           UUID {}, {} of {} inodes free",
            self.identifiers.root_uuid, self.root_free_inodes, self.root_inodes
        ));
        for (key, path) in &self.firmware {
            lines.push(format!("{key:10} {path}"));
        }
        if let Some(placed) = &self.configuration {
            let revision = placed.revision.as_ref().map(|revision| format!(", {}", revision.shown()));
            lines.push(format!(
                "config     {} files in {}{}",
                placed.files,
                placed.path,
                revision.unwrap_or_default()
            ));
        }
        lines.join("\n") + "\n"
    }
}
