//! `nixflash devices`: disks that may be written, and the others with the reason.

use crate::cli::ask::disks::{listing, reason};
use crate::cli::outcome::Outcome;
use crate::cli::show::{card_table, output};
use crate::device::{Device, Use};
use serde_json::{Value, json};

/// List the disks that may be written.
#[derive(clap::Args)]
pub struct Options {
    /// Also list those that may not, with the reason
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(options: &Options) -> Outcome {
    let listing = listing()?;
    let judged: Vec<(&Device, Option<String>)> =
        listing.devices.iter().map(|device| (device, reason(&listing, device))).collect();
    let shown: Vec<_> = judged.iter().filter(|(_, reason)| options.all || reason.is_none()).collect();
    if options.json {
        let list: Vec<Value> =
            shown.iter().map(|(device, reason)| to_json(device, reason.as_deref())).collect();
        let value = json!({ "schema": "nixflash-devices/1", "devices": list });
        return output::data(&format!("{value:#}\n"));
    }
    if shown.is_empty() {
        output::error_line("no disk that looks like a card; `nixflash devices --all` shows the others");
    }
    let mut text = String::new();
    for (device, reason) in shown {
        text.push_str(&format!("{}\n", card_table::in_a_line(device)));
        for at in device.mounts() {
            text.push_str(&format!("  mounted at {}\n", crate::escape::shown(&at.display().to_string())));
        }
        if let Some(reason) = reason {
            text.push_str(&format!("  not offered: {}\n", crate::escape::shown(&reason.to_string())));
        }
    }
    output::data(&output::escape_lines(&text))
}

fn to_json(device: &Device, reason: Option<&str>) -> Value {
    let partitions: Vec<Value> = device
        .partitions
        .iter()
        .map(|p| json!({ "name": p.name, "number": p.number, "start": p.start, "size": p.size, "label": p.label, "fileSystem": p.file_system }))
        .collect();
    json!({
        "path": device.path,
        "links": device.links,
        "number": device.number.to_string(),
        "vendor": device.vendor,
        "model": device.model,
        "serial": device.serial,
        "size": device.size,
        "bus": device.bus.name(),
        "removable": device.removable,
        "readOnly": device.read_only,
        "sectorSize": device.sector,
        "diskseq": device.diskseq,
        "backingFile": device.backing,
        "partitions": partitions,
        "uses": device.uses.iter().map(user).collect::<Vec<_>>(),
        "candidate": reason.is_none(),
        "reason": reason,
    })
}

fn user(user: &Use) -> Value {
    match user {
        Use::Mount { device, at } => json!({ "kind": "mount", "device": device, "at": at }),
        Use::Swap { device } => json!({ "kind": "swap", "device": device }),
        Use::Holder { device, holder, kind } => {
            json!({ "kind": "holder", "device": device, "holder": holder, "type": kind })
        }
        Use::Btrfs { device } => json!({ "kind": "btrfs", "device": device }),
    }
}
