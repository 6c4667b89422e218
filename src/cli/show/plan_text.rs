//! A plan for people.

use crate::board::{Role, TableKind};
use crate::compose::Summary;
use crate::escape::shown;
use crate::sizes::show_bytes;

/// The plan in lines of at most 80 columns, where names allow it.
pub fn text(summary: &Summary) -> String {
    let table = match summary.table {
        TableKind::Mbr => "MBR",
        TableKind::Gpt => "GPT",
    };
    let mut lines = vec![
        format!("board      {}", summary.board),
        format!("toplevel   {}", summary.toplevel),
        format!("NixOS      {}", summary.nixos_version),
        format!("closure    {} store paths, {}", summary.store_paths, show_bytes(summary.nar_bytes)),
        format!(
            "image      {}, {} of it used",
            show_bytes(summary.image_bytes),
            show_bytes(summary.mapped_bytes)
        ),
        format!("table      {table}, id {}", summary.identifiers.disk),
    ];
    for ((number, partition), id) in (1..).zip(&summary.partitions).zip(&summary.identifiers.partitions) {
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
        summary.identifiers.root_uuid, summary.root_free_inodes, summary.root_inodes
    ));
    for (key, path) in &summary.firmware {
        lines.push(format!("{key:10} {path}"));
    }
    if let Some(placed) = &summary.configuration {
        let revision = placed.revision.as_ref().map(|revision| format!(", {}", revision.shown()));
        lines.push(format!(
            "config     {} files in {}{}",
            placed.files,
            placed.path,
            revision.unwrap_or_default()
        ));
    }
    let lines: Vec<String> = lines.iter().map(|line| shown(line)).collect();
    lines.join("\n") + "\n"
}
