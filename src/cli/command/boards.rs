//! `nixflash boards`: which boards there are, and one profile in full.

use crate::board;
use crate::board::{Board, PartitionType};
use crate::cli::exit::{Code, Failure};
use crate::cli::file::board::read;
use crate::cli::outcome::Outcome;
use crate::cli::show::output;
use crate::sizes::show_bytes;
use serde_json::{Value, json};
use std::path::PathBuf;

/// List the boards, or show one: its layout, packages, reasons and sources.
#[derive(clap::Args)]
pub struct Options {
    /// Show this one
    board: Option<String>,
    /// Show and check a profile of your own
    #[arg(id = "board_file", long = "board", value_name = "FILE.toml", conflicts_with = "board")]
    file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(options: &Options) -> Outcome {
    let usage = |error: board::Error| Failure::of(Code::Usage, &error);
    let boards = match (&options.board, &options.file) {
        (Some(name), _) => vec![board::find(name).map_err(usage)?],
        (None, Some(file)) => vec![read(file)?.0],
        (None, None) => board::all().map_err(|error| Failure::of(Code::Other, &error))?,
    };
    if options.json {
        let list: Vec<Value> = boards.iter().map(to_json).collect();
        let value = json!({ "schema": "nixflash-boards/1", "boards": list });
        return output::data(&format!("{value:#}\n"));
    }
    let mut text = String::new();
    if options.board.is_some() || options.file.is_some() {
        boards.iter().for_each(|board| text.push_str(&in_full(board)));
    } else {
        for board in &boards {
            text.push_str(&format!("{:17}  {}\n{:17}  {}\n", board.name, board.title, "", board.summary()));
            if !board.aliases.is_empty() {
                text.push_str(&format!("{:17}  also {}\n", "", board.aliases.join(", ")));
            }
        }
    }
    output::data(&output::escape_lines(&text))
}

fn kind(kind: PartitionType) -> String {
    match kind {
        PartitionType::Mbr(byte) => format!("{byte:02x}"),
        PartitionType::Gpt(guid) => guid.to_string(),
    }
}

/// A text of lines that fit a terminal.
#[derive(Default)]
struct Text(String);

/// Columns of a line.
const COLUMNS: usize = 80;

impl Text {
    /// Adds a line; what does not fit goes on below, indented a little more.
    fn line(&mut self, indent: usize, text: &str) {
        let mut line = " ".repeat(indent);
        let mut is_empty = true;
        for word in text.split(' ') {
            if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
                self.0.push_str(&format!("{line}\n"));
                line = " ".repeat(indent + 2);
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(&crate::escape::shown(word));
            is_empty = false;
        }
        self.0.push_str(&format!("{line}\n"));
    }

    fn reason(&mut self, reason: Option<&String>) {
        if let Some(reason) = reason {
            self.line(2, &format!("because: {reason}"));
        }
    }

    fn list(&mut self, title: &str, lines: &[String]) {
        if !lines.is_empty() {
            self.line(0, title);
            lines.iter().for_each(|line| self.line(2, line));
        }
    }
}

fn in_full(board: &Board) -> String {
    let mut text = Text::default();
    text.line(0, &format!("{}: {}", board.name, board.title));
    if !board.aliases.is_empty() {
        text.line(0, &format!("also: {}", board.aliases.join(", ")));
    }
    text.line(0, &format!("system: {}", board.system));
    text.line(0, &board.summary());
    text.reason(board.table_reason.as_ref());
    layout(board, &mut text);
    for package in &board.packages {
        let optional = if package.optional { " (optional)" } else { "" };
        text.line(0, &format!("package {}{optional}: {}", package.key, package.needs.join(", ")));
        text.line(2, &format!("named {}", package.names.join(" or ")));
        text.0.push_str(&format!("  {}\n", package.command));
        text.reason(package.reason.as_ref());
    }
    for rule in &board.files {
        text.line(0, &format!("file {} <- {} {}", rule.to, rule.package, rule.from.join(" ")));
        text.reason(rule.reason.as_ref());
    }
    if let Some(config) = &board.config_txt {
        text.line(0, "config.txt:");
        config.lines().for_each(|line| text.0.push_str(&format!("{}\n", format!("  {line}").trim_end())));
    }
    let drivers = |medium: &board::Medium| {
        format!("{}: {}", medium.name, medium.drivers.join(", ").replace('|', " or "))
    };
    let media: Vec<String> = board.media.iter().map(drivers).collect();
    text.list("drivers that the initrd needs to find the root, where they are not built in:", &media);
    text.list("requires:", &board.requires);
    text.list("notes:", &board.notes);
    text.list("sources:", &board.sources);
    text.0
}

fn layout(board: &Board, text: &mut Text) {
    for raw in &board.raws {
        let (offset, max) = (show_bytes(raw.offset), show_bytes(raw.max));
        text.line(0, &format!("boot loader {} at {offset}, at most {max}, from {}", raw.file, raw.package));
        text.reason(raw.reason.as_ref());
    }
    for (number, partition) in (1..).zip(&board.partitions) {
        let size = partition.size.map_or_else(|| "the rest".to_owned(), show_bytes);
        let active = if partition.active { ", active" } else { "" };
        let (start, kind) = (show_bytes(partition.start), kind(partition.kind));
        let (role, label) = (role(partition.role), &partition.label);
        text.line(0, &format!("partition {number}: {role} at {start}, {size}, label {label}{active}"));
        text.line(2, &format!("type {kind}"));
        text.reason(partition.reason.as_ref());
    }
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
        .map(|p| json!({ "role": p.role, "start": p.start, "size": p.size, "type": kind(p.kind), "active": p.active, "label": p.label, "reason": p.reason }))
        .collect();
    let packages: Vec<Value> = board
        .packages
        .iter()
        .map(|p| json!({ "key": p.key, "names": p.names, "needs": p.needs, "optional": p.optional, "command": p.command, "reason": p.reason }))
        .collect();
    let raws: Vec<Value> = board
        .raws
        .iter()
        .map(|r| json!({ "package": r.package, "file": r.file, "offset": r.offset, "max": r.max, "reason": r.reason }))
        .collect();
    let files: Vec<Value> = board
        .files
        .iter()
        .map(|f| json!({ "package": f.package, "from": f.from, "orDeviceTrees": f.or_device_trees, "to": f.to, "required": f.required, "reason": f.reason }))
        .collect();
    json!({
        "name": board.name,
        "aliases": board.aliases,
        "title": board.title,
        "system": board.system,
        "table": board.table,
        "tableReason": board.table_reason,
        "loader": board.loader,
        "rawBootLoaders": raws,
        "partitions": partitions,
        "packages": packages,
        "files": files,
        "media": board.media.iter().map(|m| json!({ "name": m.name, "drivers": m.drivers })).collect::<Vec<_>>(),
        "configTxt": board.config_txt,
        "requires": board.requires,
        "notes": board.notes,
        "sources": board.sources,
    })
}
