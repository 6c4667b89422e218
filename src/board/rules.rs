//! What the values of a profile must satisfy together: a list of demands whose messages say what is allowed.

use super::description::{Board, FileRule, Loader, Raw, Role, TableKind};
use super::glob::matches;
use super::key::{Key, Wrong};
use crate::sizes::show_bytes;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// The smallest FAT that every size of cluster allows, and the largest that its 32 bits count in sectors.
const FAT_SIZES: std::ops::RangeInclusive<u64> = 4 * MIB..=(1 << 40);
/// The Raspberry Pi's firmware ignores what a line of config.txt has beyond these characters.
const CONFIG_LINE: usize = 98;

/// Checks a board whose values are each of the right form.
pub fn ensure(board: &Board) -> Result<(), Wrong> {
    ensure_words(board)?;
    ensure_partitions(board)?;
    ensure_packages(board)?;
    for (number, raw) in (1..).zip(&board.raws) {
        ensure_raw(board, raw, number)?;
    }
    for (number, rule) in (1..).zip(&board.files) {
        ensure_file(board, rule, number)?;
    }
    ensure_config(board)?;
    let firmware = board.partitions.iter().any(|partition| partition.role == Role::Firmware);
    if board.loader == Loader::RaspberryPi && !firmware {
        let message = "raspberry-pi needs a partition with the role \"firmware\"";
        return wrong(Key::new("boot.loader"), message);
    }
    let esp = board.partitions.iter().any(|partition| partition.role == Role::Esp);
    if board.loader == Loader::SystemdBoot && !esp {
        return wrong(Key::new("boot.loader"), "systemd-boot needs a partition with the role \"esp\"");
    }
    Ok(())
}

fn wrong(key: Key, message: impl Into<String>) -> Result<(), Wrong> {
    Err((key, message.into()))
}

fn ensure_words(board: &Board) -> Result<(), Wrong> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let names = std::iter::once(("name", &board.name)).chain(board.aliases.iter().map(|a| ("aliases", a)));
    for (key, name) in names {
        if name.is_empty() || name.len() > 40 || !name.bytes().all(good) {
            return wrong(Key::new(key), format!("{name:?}: must be 1 to 40 of a-z 0-9 - _"));
        }
    }
    const KNOWN: [&str; 4] = ["aarch64-linux", "x86_64-linux", "armv7l-linux", "riscv64-linux"];
    if !KNOWN.contains(&board.system.as_str()) {
        let message = format!("{:?}: must be one of {}", board.system, KNOWN.join(", "));
        return wrong(Key::new("system"), message);
    }
    if board.sources.is_empty() {
        return wrong(Key::new("sources"), "must name where the facts are from, at least once");
    }
    Ok(())
}

fn ensure_partitions(board: &Board) -> Result<(), Wrong> {
    let partitions = &board.partitions;
    if partitions.last().map(|partition| partition.role) != Some(Role::Root) {
        let message = "the last partition must have the role \"root\", so that it can grow";
        return wrong(Key::new("partition"), message);
    }
    if partitions.len() > 2 {
        return wrong(Key::new("partition"), "at most one FAT, and the root");
    }
    let mut free = MIB;
    for (number, partition) in (1..).zip(partitions) {
        let key = |name: &str| Key::of("partition", number, name);
        if partition.role == Role::Root && number != partitions.len() {
            return wrong(key("role"), "only the last partition can be the root");
        }
        if partition.start < free {
            let (start, free) = (show_bytes(partition.start), show_bytes(free));
            return wrong(key("start"), format!("{start} overlaps what ends at {free}"));
        }
        if let Some(size) = partition.size.filter(|size| !FAT_SIZES.contains(size)) {
            let (least, most) = (show_bytes(*FAT_SIZES.start()), show_bytes(*FAT_SIZES.end()));
            return wrong(key("size"), format!("{}: must be {least} to {most}", show_bytes(size)));
        }
        free = partition.start.saturating_add(partition.size.unwrap_or(0));
    }
    if board.table == TableKind::Mbr && partitions.iter().filter(|partition| partition.active).count() > 1 {
        return wrong(Key::of("partition", 2, "active"), "an MBR has one active partition at most");
    }
    Ok(())
}

fn ensure_packages(board: &Board) -> Result<(), Wrong> {
    for package in &board.packages {
        let key = |name: &str| Key::new(&format!("package.{}{name}", package.key));
        for (name, list) in [(".names", &package.names), (".needs", &package.needs)] {
            if list.is_empty() || list.iter().any(String::is_empty) {
                return wrong(key(name), "must have an entry, and none that is empty");
            }
        }
        if package.command.trim().is_empty() {
            return wrong(key(".command"), "must be the command that makes the package");
        }
        let used = board.files.iter().map(|rule| &rule.package);
        if !used.chain(board.raws.iter().map(|raw| &raw.package)).any(|used| *used == package.key) {
            return wrong(key(""), "no [[file]] and no [[raw]] takes anything from it");
        }
    }
    Ok(())
}

fn ensure_known(board: &Board, key: Key, package: &str) -> Result<(), Wrong> {
    if board.packages.iter().any(|known| known.key == package) {
        return Ok(());
    }
    let known: Vec<_> = board.packages.iter().map(|known| known.key.as_str()).collect();
    let known =
        if known.is_empty() { "none, there is no [package.NAME]".to_owned() } else { known.join(", ") };
    wrong(key, format!("{package:?}: must be one of {known}"))
}

/// The bytes from the start of a disk that its table needs: a GPT has its entries up to sector 33.
const fn table_len(table: TableKind) -> u64 {
    match table {
        TableKind::Mbr => 512,
        TableKind::Gpt => 17 * KIB,
    }
}

fn ensure_raw(board: &Board, raw: &Raw, number: usize) -> Result<(), Wrong> {
    let key = |name: &str| Key::of("raw", number, name);
    ensure_known(board, key("package"), &raw.package)?;
    if !is_relative(&raw.file) || raw.file.contains('*') {
        let message = format!("{:?}: must be one file, relative to the package's directory", raw.file);
        return wrong(key("file"), message);
    }
    let (start, end) = (show_bytes(raw.offset), raw.offset.saturating_add(raw.max));
    let table = table_len(board.table);
    if raw.offset < table {
        let kind = if board.table == TableKind::Mbr { "MBR" } else { "GPT" };
        let message = format!("{start} is within the {kind}, which takes the first {}", show_bytes(table));
        return wrong(key("offset"), message);
    }
    let before = number.checked_sub(2).and_then(|at| board.raws.get(at));
    if let Some(before) = before.filter(|before| raw.offset < before.offset.saturating_add(before.max)) {
        let free = show_bytes(before.offset.saturating_add(before.max));
        return wrong(key("offset"), format!("{start} overlaps what ends at {free}"));
    }
    // Partitions are in order, so the first one bounds them all.
    let first = board.partitions.first().map_or(u64::MAX, |partition| partition.start);
    if end > first {
        let (end, first) = (show_bytes(end), show_bytes(first));
        return wrong(key("max"), format!("ends at {end}, the first partition begins at {first}"));
    }
    Ok(())
}

fn is_relative(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !["", ".", ".."].contains(&part))
}

fn ensure_file(board: &Board, rule: &FileRule, number: usize) -> Result<(), Wrong> {
    let key = |name: &str| Key::of("file", number, name);
    ensure_known(board, key("package"), &rule.package)?;
    if rule.from.is_empty() {
        return wrong(key("from"), "must have a pattern such as \"start*.elf\"");
    }
    for (name, patterns) in [("from", &rule.from), ("or_device_trees", &rule.or_device_trees)] {
        if let Some(bad) = patterns.iter().find(|pattern| !is_relative(pattern)) {
            let message = format!("{bad:?}: must be a pattern relative to the package's directory");
            return wrong(key(name), message);
        }
    }
    let inner = rule.to.strip_prefix('/');
    let path = inner.map(|inner| inner.strip_suffix('/').unwrap_or(inner));
    if path.is_none_or(|path| !path.is_empty() && !is_relative(path)) {
        let message =
            format!("{:?}: must be an absolute path, with a slash at its end for a directory", rule.to);
        return wrong(key("to"), message);
    }
    if !rule.to.ends_with('/') && rule.from.iter().any(|pattern| pattern.contains('*')) {
        let message =
            format!("{:?}: what a pattern finds needs a directory, with a slash at its end", rule.to);
        return wrong(key("to"), message);
    }
    if board.boot_fat().is_none() {
        let message = "there is no partition with the role \"firmware\" or \"esp\" to put files on";
        return wrong(key("to"), message);
    }
    Ok(())
}

/// Whether a config.txt has the firmware look for a system in a directory.
fn has_prefix(text: &str) -> bool {
    text.lines().any(|line| line.strip_prefix("os_prefix=").is_some_and(|prefix| !prefix.is_empty()))
}

fn ensure_config(board: &Board) -> Result<(), Wrong> {
    let Some(text) = &board.config_txt else { return Ok(()) };
    let key = || Key::new("config_txt");
    if !board.partitions.iter().any(|partition| partition.role == Role::Firmware) {
        return wrong(key(), "there is no partition with the role \"firmware\" to put it on");
    }
    for line in text.lines() {
        if line.len() > CONFIG_LINE || !line.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            let message = format!("{line:?}: a line is at most {CONFIG_LINE} printable ASCII characters");
            return wrong(key(), message);
        }
        let named = ["kernel=", "armstub="].iter().find_map(|word| line.strip_prefix(word));
        // Below `os_prefix` lies what the boot loader's builder puts there for each generation.
        let is_of_system =
            board.loader == Loader::RaspberryPi && line.starts_with("kernel=") && has_prefix(text);
        if let Some(named) = named.filter(|named| !is_of_system && !board.puts(named)) {
            return wrong(key(), format!("{line:?}: no [[file]] puts {named:?} on the FAT"));
        }
    }
    Ok(())
}

impl Board {
    /// Whether a rule may put a file of that name at the top of the first FAT.
    fn puts(&self, name: &str) -> bool {
        let is = |pattern: &String| {
            let base = pattern.rsplit('/').next().unwrap_or(pattern);
            matches(base.as_bytes(), name.as_bytes())
        };
        self.files.iter().any(|rule| match rule.to.strip_prefix('/') {
            Some("") => rule.from.iter().any(is),
            Some(to) => to == name,
            None => false,
        })
    }
}
