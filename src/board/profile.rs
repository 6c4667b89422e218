//! The profile file as written, and its way to a [`Board`]; what values must satisfy together is in `rules`.

use super::description::{
    Board, FileRule, Loader, Medium, Package, Partition, PartitionType, Raw, Role, TableKind,
};
use super::key::{Key, Wrong};
use super::rules;
use crate::format::disk::fat;
use crate::sizes;
use serde::Deserialize;
use std::collections::BTreeMap;

const MIB: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    title: String,
    system: String,
    sources: Vec<String>,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    notes: Vec<String>,
    table: RawTable,
    boot: RawBoot,
    partition: Vec<RawPartition>,
    #[serde(default)]
    medium: Vec<RawMedium>,
    #[serde(default)]
    package: BTreeMap<String, RawPackage>,
    #[serde(default)]
    raw: Vec<RawRaw>,
    #[serde(default)]
    file: Vec<RawFile>,
    config_txt: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    kind: TableKind,
    disk_id: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBoot {
    loader: Loader,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPartition {
    role: Role,
    start: String,
    size: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    active: bool,
    name: Option<String>,
    label: String,
    volume_id: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMedium {
    name: String,
    drivers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPackage {
    names: Vec<String>,
    #[serde(default)]
    directories: Vec<String>,
    needs: Vec<String>,
    #[serde(default)]
    optional: bool,
    command: String,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRaw {
    package: String,
    file: String,
    offset: String,
    max: String,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    package: String,
    from: Vec<String>,
    #[serde(default)]
    or_device_trees: Vec<String>,
    to: String,
    #[serde(default = "yes")]
    required: bool,
    reason: Option<String>,
}

const fn yes() -> bool {
    true
}

impl Profile {
    pub fn validate(self, digest: [u8; 32]) -> Result<Board, Wrong> {
        let disk_id = self.disk_id()?;
        let partitions = self.partitions()?;
        let raws = (1..).zip(self.raw).map(|(number, raw)| raw.validate(number)).collect::<Result<_, _>>()?;
        let board = Board {
            name: self.name,
            aliases: self.aliases,
            title: self.title,
            system: self.system,
            table: self.table.kind,
            table_reason: self.table.reason,
            disk_id,
            loader: self.boot.loader,
            partitions,
            packages: self.package.into_iter().map(package).collect(),
            media: self.medium.into_iter().zip(1..).map(medium).collect::<Result<_, _>>()?,
            raws,
            files: self.file.into_iter().map(file).collect(),
            config_txt: self.config_txt,
            requires: self.requires,
            notes: self.notes,
            sources: self.sources,
            digest,
        };
        rules::ensure(&board)?;
        Ok(board)
    }

    fn disk_id(&self) -> Result<Option<u32>, Wrong> {
        let Some(text) = &self.table.disk_id else { return Ok(None) };
        let key = Key::new("table.disk_id");
        if self.table.kind == TableKind::Gpt {
            return Err((key, "a GPT has no disk id of 32 bits: leave it out".to_owned()));
        }
        hex32(text).map(Some).map_err(|message| (key, message))
    }

    fn partitions(&self) -> Result<Vec<Partition>, Wrong> {
        self.partition.iter().enumerate().map(|(n, raw)| raw.validate(n + 1, self.table.kind)).collect()
    }
}

impl RawPartition {
    fn validate(&self, number: usize, table: TableKind) -> Result<Partition, Wrong> {
        let wrong = |name: &str, message: String| (Key::of("partition", number, name), message);
        let whole = |name: &str, text: &String| length(text, MIB).map_err(|message| wrong(name, message));
        let size = match (&self.size, self.role) {
            (None, Role::Root) => None,
            (Some(_), Role::Root) => {
                let message = "the root has no size: it takes what it needs or all that is left";
                return Err(wrong("size", message.to_owned()));
            }
            (None, _) => return Err(wrong("size", "missing; a length such as \"128 MiB\"".to_owned())),
            (Some(text), _) => Some(whole("size", text)?),
        };
        if self.name.is_some() && table == TableKind::Mbr {
            return Err(wrong("name", "an MBR has no partition names: leave it out".to_owned()));
        }
        self.ensure_label().map_err(|message| wrong("label", message))?;
        let volume_id = match (&self.volume_id, self.role) {
            (Some(_), Role::Root) => {
                return Err(wrong("volume_id", "ext4 has none: leave it out".to_owned()));
            }
            (Some(text), _) => Some(hex32(text).map_err(|message| wrong("volume_id", message))?),
            (None, _) => None,
        };
        Ok(Partition {
            role: self.role,
            start: whole("start", &self.start)?,
            size,
            kind: self.kind(table).map_err(|message| wrong("type", message))?,
            active: self.active,
            name: self.name.clone().unwrap_or_default(),
            label: self.label.clone(),
            volume_id,
            reason: self.reason.clone(),
        })
    }

    fn ensure_label(&self) -> Result<(), String> {
        if self.role != Role::Root && !self.label.is_empty() {
            return fat::Label::new(&self.label).map(drop).map_err(|error| error.to_string());
        }
        let printable = self.label.bytes().all(|b| (0x20..0x7f).contains(&b));
        if printable && (1..=16).contains(&self.label.len()) {
            return Ok(());
        }
        let max = if self.role == Role::Root { 16 } else { 11 };
        Err(format!("{:?}: must be 1 to {max} printable ASCII characters", self.label))
    }

    fn kind(&self, table: TableKind) -> Result<PartitionType, String> {
        match table {
            TableKind::Mbr if self.kind.len() == 2 => {
                u8::from_str_radix(&self.kind, 16).ok().map(PartitionType::Mbr)
            }
            TableKind::Mbr => None,
            TableKind::Gpt => uuid::Uuid::try_parse(&self.kind).ok().map(PartitionType::Gpt),
        }
        .ok_or_else(|| match table {
            TableKind::Mbr => format!("{:?}: must be two hexadecimal digits, as in \"0b\"", self.kind),
            TableKind::Gpt => format!("{:?}: must be a GUID", self.kind),
        })
    }
}

impl RawRaw {
    fn validate(self, number: usize) -> Result<Raw, Wrong> {
        let whole = |name: &str, text: &str| {
            length(text, 512).map_err(|message| (Key::of("raw", number, name), message))
        };
        let (offset, max) = (whole("offset", &self.offset)?, whole("max", &self.max)?);
        Ok(Raw { package: self.package, file: self.file, offset, max, reason: self.reason })
    }
}

fn medium((raw, number): (RawMedium, usize)) -> Result<Medium, Wrong> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_|".contains(c);
    if let Some(driver) = raw.drivers.iter().find(|driver| driver.is_empty() || !driver.chars().all(good)) {
        let message =
            format!("{driver:?}: must be names of drivers as the kernel writes them: a-z 0-9 _, | between");
        return Err((Key::of("medium", number, "drivers"), message));
    }
    Ok(Medium { name: raw.name, drivers: raw.drivers })
}

fn package((key, raw): (String, RawPackage)) -> Package {
    let directories = if raw.directories.is_empty() { vec![String::new()] } else { raw.directories };
    let RawPackage { names, needs, optional, command, reason, .. } = raw;
    Package { key, names, directories, needs, optional, command, reason }
}

fn file(raw: RawFile) -> FileRule {
    let RawFile { package, from, or_device_trees, to, required, reason } = raw;
    FileRule { package, from, or_device_trees, to, required, reason }
}

/// A length that is a multiple of `unit`, 512 bytes or 1 MiB.
fn length(text: &str, unit: u64) -> Result<u64, String> {
    let bytes = sizes::parse_bytes(text).filter(|bytes| *bytes > 0 && bytes % unit == 0 && *bytes <= 1 << 50);
    bytes.ok_or_else(|| match unit {
        MIB => format!("{text:?}: must be a whole number of MiB with its unit, such as \"128 MiB\""),
        _ => format!("{text:?}: must be a multiple of 512 bytes with its unit, such as \"32 KiB\""),
    })
}

fn hex32(text: &str) -> Result<u32, String> {
    let digits = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let value = if digits { u32::from_str_radix(text, 16).ok() } else { None };
    value.ok_or_else(|| format!("{text:?}: must be 8 hexadecimal digits"))
}
