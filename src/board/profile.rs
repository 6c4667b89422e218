//! The profile file as written, and its validation: a list of demands whose messages name the key.

use super::{Board, FileRule, Loader, Package, Partition, PartitionType, Role, TableKind};
use crate::num;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The key and what is wrong with its value.
type Wrong = (String, String);

const MIB: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    name: String,
    title: String,
    system: String,
    sources: Vec<String>,
    table: RawTable,
    boot: RawBoot,
    partition: Vec<RawPartition>,
    #[serde(default)]
    package: BTreeMap<String, RawPackage>,
    #[serde(default)]
    file: Vec<RawFile>,
    config_txt: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    kind: TableKind,
    disk_id: Option<String>,
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
}

const fn yes() -> bool {
    true
}

impl Profile {
    pub fn validate(self, digest: [u8; 32]) -> Result<Board, Wrong> {
        ensure_name(&self.name)?;
        ensure_system(&self.system)?;
        let disk_id = self.disk_id()?;
        let partitions = self.partitions()?;
        ensure_order(&partitions)?;
        let board = Board {
            name: self.name,
            title: self.title,
            system: self.system,
            table: self.table.kind,
            disk_id,
            loader: self.boot.loader,
            partitions,
            packages: self.package.into_iter().map(package).collect::<Result<_, _>>()?,
            files: self.file.into_iter().map(file).collect(),
            config_txt: self.config_txt,
            sources: self.sources,
            digest,
        };
        ensure_files(&board)?;
        ensure_loader(&board)?;
        Ok(board)
    }

    fn disk_id(&self) -> Result<Option<u32>, Wrong> {
        let Some(text) = &self.table.disk_id else { return Ok(None) };
        if self.table.kind == TableKind::Gpt {
            return wrong("table.disk_id", "a GPT has no disk id of 32 bits: leave it out");
        }
        hex32(text).map(Some).ok_or_else(|| ("table.disk_id".to_owned(), hex32_message(text)))
    }

    fn partitions(&self) -> Result<Vec<Partition>, Wrong> {
        self.partition.iter().enumerate().map(|(n, raw)| raw.validate(n + 1, self.table.kind)).collect()
    }
}

impl RawPartition {
    fn validate(&self, number: usize, table: TableKind) -> Result<Partition, Wrong> {
        let key = |name: &str| format!("partition {number}: {name}");
        let size = match (&self.size, self.role) {
            (None, Role::Root) => None,
            (Some(_), Role::Root) => {
                return wrong(
                    key("size"),
                    "the root has no size: it takes what it needs or all that is left",
                );
            }
            (None, _) => return wrong(key("size"), "missing; a length such as \"128 MiB\""),
            (Some(text), _) => Some(length(text).map_err(|message| (key("size"), message))?),
        };
        if self.name.is_some() && table == TableKind::Mbr {
            return wrong(key("name"), "an MBR has no partition names: leave it out");
        }
        let max = if self.role == Role::Root { 16 } else { 11 };
        if self.label.is_empty()
            || self.label.len() > max
            || !self.label.bytes().all(|b| (0x20..0x7f).contains(&b))
        {
            return wrong(
                key("label"),
                format!("{:?}: must be 1 to {max} printable ASCII characters", self.label),
            );
        }
        let volume_id = match (&self.volume_id, self.role) {
            (Some(_), Role::Root) => return wrong(key("volume_id"), "ext4 has none: leave it out"),
            (Some(text), _) => Some(hex32(text).ok_or_else(|| (key("volume_id"), hex32_message(text)))?),
            (None, _) => None,
        };
        Ok(Partition {
            role: self.role,
            start: length(&self.start).map_err(|message| (key("start"), message))?,
            size,
            kind: self.kind(table).map_err(|message| (key("type"), message))?,
            active: self.active,
            name: self.name.clone().unwrap_or_default(),
            label: self.label.clone(),
            volume_id,
        })
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

fn package((key, raw): (String, RawPackage)) -> Result<Package, Wrong> {
    if raw.names.is_empty() || raw.needs.is_empty() {
        return wrong(format!("package.{key}"), "`names` and `needs` must each have an entry");
    }
    let directories = if raw.directories.is_empty() { vec![String::new()] } else { raw.directories };
    let (names, needs, optional, command) = (raw.names, raw.needs, raw.optional, raw.command);
    Ok(Package { key, names, directories, needs, optional, command })
}

fn file(raw: RawFile) -> FileRule {
    let RawFile { package, from, or_device_trees, to, required } = raw;
    FileRule { package, from, or_device_trees, to, required }
}

fn ensure_name(name: &str) -> Result<(), Wrong> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > 40 || !name.bytes().all(good) {
        return wrong("name", format!("{name:?}: must be 1 to 40 of a-z 0-9 -"));
    }
    Ok(())
}

fn ensure_system(system: &str) -> Result<(), Wrong> {
    const KNOWN: [&str; 4] = ["aarch64-linux", "x86_64-linux", "armv7l-linux", "riscv64-linux"];
    if !KNOWN.contains(&system) {
        return wrong("system", format!("{system:?}: must be one of {}", KNOWN.join(", ")));
    }
    Ok(())
}

fn ensure_order(partitions: &[Partition]) -> Result<(), Wrong> {
    if partitions.last().map(|partition| partition.role) != Some(Role::Root) {
        return wrong("partition", "the last partition must have the role \"root\", so that it can grow");
    }
    if partitions.len() > 4 {
        return wrong("partition", "at most 4 partitions");
    }
    let mut free = MIB;
    for (number, partition) in (1..).zip(partitions) {
        let key = |name: &str| format!("partition {number}: {name}");
        if partition.role == Role::Root && number != partitions.len() {
            return wrong(key("role"), "only the last partition can be the root");
        }
        if partition.start < free {
            let message = format!(
                "{} overlaps what ends at {}",
                num::show_bytes(partition.start),
                num::show_bytes(free)
            );
            return wrong(key("start"), message);
        }
        free = partition.start.saturating_add(partition.size.unwrap_or(0));
    }
    Ok(())
}

fn ensure_files(board: &Board) -> Result<(), Wrong> {
    for (number, rule) in (1..).zip(&board.files) {
        let key = |name: &str| format!("file {number}: {name}");
        if !board.packages.iter().any(|package| package.key == rule.package) {
            let known: Vec<_> = board.packages.iter().map(|package| package.key.as_str()).collect();
            return wrong(key("package"), format!("{:?}: must be one of {}", rule.package, known.join(", ")));
        }
        if !rule.to.starts_with('/')
            || rule.to.contains("//")
            || rule.to.split('/').any(|part| part == "." || part == "..")
        {
            return wrong(
                key("to"),
                format!("{:?}: must be an absolute path, with a slash at its end for a directory", rule.to),
            );
        }
    }
    if (!board.files.is_empty() || board.config_txt.is_some()) && board.boot_fat().is_none() {
        return wrong("file", "there is no partition with the role \"firmware\" or \"esp\" to put files on");
    }
    Ok(())
}

fn ensure_loader(board: &Board) -> Result<(), Wrong> {
    let esp = board.partitions.iter().any(|partition| partition.role == Role::Esp);
    if board.loader == Loader::SystemdBoot && !esp {
        return wrong("boot.loader", "systemd-boot needs a partition with the role \"esp\"");
    }
    Ok(())
}

fn length(text: &str) -> Result<u64, String> {
    let bytes = num::parse_bytes(text).filter(|bytes| *bytes > 0 && bytes % MIB == 0 && *bytes <= 1 << 50);
    bytes.ok_or_else(|| format!("{text:?}: must be a whole number of MiB with its unit, such as \"128 MiB\""))
}

fn hex32(text: &str) -> Option<u32> {
    (text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| u32::from_str_radix(text, 16).ok())?
}

fn hex32_message(text: &str) -> String {
    format!("{text:?}: must be 8 hexadecimal digits")
}

fn wrong<T>(key: impl Into<String>, message: impl Into<String>) -> Result<T, Wrong> {
    Err((key.into(), message.into()))
}

#[cfg(test)]
mod tests {
    use crate::board::{Role, all, find, parse};

    #[test]
    fn every_built_in_profile_loads_and_is_called_as_its_file() {
        let boards = all().unwrap();
        let names: Vec<_> = boards.iter().map(|board| board.name.as_str()).collect();
        assert_eq!(names, ["rpi-zero2w", "rpi3", "rpi4", "uefi-aarch64"]);
        for board in &boards {
            assert_eq!(board.root().role, Role::Root);
            assert!(!board.sources.is_empty(), "{} names no source", board.name);
        }
        assert!(find("rpi9").unwrap_err().to_string().contains("rpi3, rpi4"));
    }

    #[test]
    fn each_mistake_names_its_key() {
        let good = super::super::BUILT_IN.iter().find(|(file, _)| file.contains("rpi4")).unwrap().1;
        assert!(parse("mine.toml", good).is_ok());
        for (from, to, expected) in [
            ("name = \"rpi4\"", "name = \"RPi 4\"", "name: \"RPi 4\""),
            ("name = \"rpi4\"", "nmae = \"rpi4\"", "unknown field `nmae`"),
            ("aarch64-linux", "arm64", "system: \"arm64\": must be one of aarch64-linux"),
            ("kind = \"mbr\"", "kind = \"dos\"", "unknown variant `dos`, expected `mbr` or `gpt`"),
            ("loader = \"extlinux\"", "loader = \"systemd-boot\"", "boot.loader: systemd-boot needs"),
            ("disk_id = \"2178694e\"", "disk_id = \"2178694\"", "table.disk_id: \"2178694\""),
            ("start = \"8 MiB\"", "start = \"8 MB\"", "partition 1: start: \"8 MB\""),
            ("start = \"8 MiB\"", "start = \"512\"", "partition 1: start: \"512\""),
            (
                "start = \"136 MiB\"",
                "start = \"100 MiB\"",
                "partition 2: start: 100 MiB overlaps what ends at 136 MiB",
            ),
            ("type = \"0b\"", "type = \"b\"", "partition 1: type: \"b\""),
            ("label = \"FIRMWARE\"", "label = \"FIRMWARE-OF-PI\"", "partition 1: label"),
            ("role = \"root\"", "role = \"firmware\"", "partition 2: size: missing"),
            ("package = \"firmware\"", "package = \"firmwear\"", "file 1: package: \"firmwear\""),
            ("to = \"/\"", "to = \"../\"", "file 1: to: \"../\""),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from} is not in the profile");
            let message = parse("mine.toml", &text).unwrap_err().to_string();
            assert!(message.starts_with("mine.toml: ") && message.contains(expected), "{message}");
        }
    }
}
