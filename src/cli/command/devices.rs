//! `nixflash devices`: disks that may be written, and the others with the reason.

use crate::cli::exit::{Code, Failure};
use crate::cli::outcome::Outcome;
use crate::cli::show::{card_table, output};
use crate::device;
use crate::device::{
    Answer, Device, Fixed, Listing, Mounted, Policy, Reason, Roots, Use, Verdict, Wanted, gather, judge,
};
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

/// Lists the disks of this machine.
pub fn listing() -> Result<Listing, Failure> {
    device::list(&Roots::system()).map_err(|error| Failure::of(Code::Other, &error))
}

/// Why a disk is not offered: a refusal, or that it does not look like a card. `None` for one that is.
pub fn reason(listing: &Listing, device: &Device) -> Option<String> {
    // Whoever sees the list may unmount what an automounter mounted.
    let policy = Policy { mounts: Mounted::Unmount, fixed: Fixed::Identify, answer: Answer::None };
    let facts = match gather(listing, &device.path, &Wanted::default()) {
        Ok(facts) => facts,
        Err(error) => return Some(error.to_string()),
    };
    match judge(&facts, &policy) {
        Verdict::Refused(refusal) => Some(refusal.to_string()),
        Verdict::Allowed => None,
        Verdict::NeedsConfirmation { reasons, .. } => {
            let odd = reasons.iter().filter(|r| !matches!(r, Reason::Overwritten | Reason::Unmounts(_)));
            let words: Vec<String> = odd.map(ToString::to_string).collect();
            (!words.is_empty())
                .then(|| format!("{}; needs --allow-fixed or its model or serial", words.join(", ")))
        }
    }
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
