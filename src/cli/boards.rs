//! `nixflash boards`: which boards there are, and one profile in full.

use super::Outcome;
use super::exit::{Code, Failure};
use super::output;
use crate::board::{self, Board, PartitionType};
use crate::num::show_bytes;
use serde_json::{Value, json};

/// List the boards, or show one.
#[derive(clap::Args)]
pub struct Options {
    /// Show this one
    board: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(options: &Options) -> Outcome {
    let boards = match &options.board {
        Some(name) => vec![board::find(name).map_err(|error| Failure::of(Code::Usage, &error))?],
        None => board::all().map_err(|error| Failure::of(Code::Other, &error))?,
    };
    if options.json {
        let list: Vec<Value> = boards.iter().map(to_json).collect();
        let value = json!({ "schema": "nixflash-boards/1", "boards": list });
        return output::data(&format!("{value:#}\n"));
    }
    let mut text = String::new();
    if options.board.is_some() {
        boards.iter().for_each(|board| text.push_str(&in_full(board)));
    } else {
        for board in &boards {
            text.push_str(&format!("{:14} {}\n{:14} {}\n", board.name, board.title, "", board.summary()));
        }
    }
    output::data(&text)
}

fn kind(kind: PartitionType) -> String {
    match kind {
        PartitionType::Mbr(byte) => format!("{byte:02x}"),
        PartitionType::Gpt(guid) => guid.to_string(),
    }
}

fn in_full(board: &Board) -> String {
    let mut lines = vec![
        format!("{}: {}", board.name, board.title),
        format!("system: {}", board.system),
        board.summary(),
    ];
    for (number, partition) in (1..).zip(&board.partitions) {
        let size = partition.size.map_or_else(|| "the rest".to_owned(), show_bytes);
        let active = if partition.active { ", active" } else { "" };
        let (start, kind) = (show_bytes(partition.start), kind(partition.kind));
        lines.push(format!(
            "partition {number}: {} at {start}, {size}, label {}{active}\n  type {kind}",
            role(partition.role),
            partition.label
        ));
    }
    for package in &board.packages {
        let optional = if package.optional { " (optional)" } else { "" };
        lines.push(format!("package {}{optional}: {}", package.key, package.needs.join(", ")));
        lines.push(format!("  {}", package.command));
    }
    for rule in &board.files {
        lines.push(format!("file {} <- {} {}", rule.to, rule.package, rule.from.join(" ")));
    }
    if let Some(text) = &board.config_txt {
        lines.push("config.txt:".to_owned());
        lines.extend(text.lines().map(|line| format!("  {line}").trim_end().to_owned()));
    }
    lines.push("sources:".to_owned());
    lines.extend(board.sources.iter().map(|source| format!("  {source}")));
    lines.join("\n") + "\n"
}

const fn role(role: board::Role) -> &'static str {
    match role {
        board::Role::Firmware => "firmware",
        board::Role::Esp => "esp",
        board::Role::Root => "root",
    }
}

fn to_json(board: &Board) -> Value {
    let partitions: Vec<Value> = board
        .partitions
        .iter()
        .map(|p| json!({ "role": p.role, "start": p.start, "size": p.size, "type": kind(p.kind), "active": p.active, "label": p.label }))
        .collect();
    let packages: Vec<Value> = board
        .packages
        .iter()
        .map(|p| json!({ "key": p.key, "names": p.names, "needs": p.needs, "optional": p.optional, "command": p.command }))
        .collect();
    json!({
        "name": board.name,
        "title": board.title,
        "system": board.system,
        "table": board.table,
        "loader": board.loader,
        "partitions": partitions,
        "packages": packages,
        "sources": board.sources,
    })
}
