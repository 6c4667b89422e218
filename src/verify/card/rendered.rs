//! Texts that boot, in the one form that NixOS's builders give them.
//!
//! A text is not judged by our parse of it: a boot loader parses it otherwise (U-Boot takes the first INITRD, knows
//! MENU INCLUDE and no blank but space and tab; systemd-boot joins initrds and ends lines at CR). So it is made anew out
//! of the systems that are there, and what cannot be known of it (dates, how long a menu waits, which entry was chosen)
//! has one form each. Any other byte is told.
//!
//! Sources: U-Boot 2025.01 `boot/pxe_utils.c` (`get_token`, `parse_label`, `label_boot`); systemd 257
//! `src/boot/boot.c` (`boot_entry_add_type1`, `line_get_key_value`).

use super::systems::System;
use crate::format::boot::bootspec::Document;
use crate::format::boot::extlinux;
use crate::format::boot::extlinux::{DeviceTree, Entry, Read, ReadEntry};
use crate::format::nix::store_path::STORE_DIR;
use std::collections::{BTreeMap, BTreeSet};

/// Orders of the lines of an entry of systemd-boot: of builders up to NixOS 25.11, and later.
const ORDERS: [&[&str]; 2] = [
    &["title", "sort-key", "version", "linux", "initrd", "options", "machine-id", "devicetree"],
    &["title", "version", "linux", "initrd", "options", "machine-id", "devicetree", "sort-key"],
];
/// Lines of `loader.conf` that have no other form.
const FIXED: [&str; 6] = [
    "editor 0",
    "editor no",
    "editor 1",
    "editor yes",
    "reboot-for-bitlocker yes",
    "reboot-for-bitlocker no",
];
const CONSOLE_MODES: [&str; 7] = ["0", "1", "2", "5", "auto", "max", "keep"];

/// A path of the store as one file name, as the builder of extlinux files makes it.
pub fn flat(path: &str) -> String {
    path.trim_start_matches(STORE_DIR).trim_start_matches('/').replace('/', "-")
}

/// Compares an `extlinux.conf` with what the builder writes for the systems of its entries.
pub fn extlinux(text: &str, read: &Read, systems: &[&System]) -> Result<(), String> {
    let tags: BTreeSet<&str> = read.entries.iter().filter_map(tag_of).collect();
    if tags.len() != read.entries.len() {
        return Err("it has two entries of one name, or one that NixOS does not write".to_owned());
    }
    let default = read.default.as_deref().unwrap_or_default();
    let timeout = match (read.timeout, &read.title) {
        (_, None) => 0,
        (Some(0), Some(_)) => -1,
        (tenths, Some(_)) => i64::from(tenths.unwrap_or_default() / 10),
    };
    same_trees(read, systems)?;
    let mut expected = extlinux::head(default, timeout);
    for (entry, system) in read.entries.iter().zip(systems) {
        let tag = tag_of(entry).unwrap_or_default();
        let title = title(tag, entry, system, &tags)?;
        let made = Entry {
            kernel: flat(system.kernel.as_deref().unwrap_or_default()),
            initrd: system.initrd.as_deref().map(flat),
            device_tree: device_tree(entry, system)?,
            init: format!("{}/init", system.toplevel),
            kernel_params: system.command_line.clone(),
        };
        extlinux::add(&mut expected, tag, &title, &made);
    }
    same(text, &expected)
}

/// The builder gives device trees to all entries of a system, or to none: whether it does is said by an option of its own.
fn same_trees(read: &Read, systems: &[&System]) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for (entry, system) in read.entries.iter().zip(systems) {
        let trees = (&entry.fdt, &entry.fdtdir);
        if *seen.entry(&system.toplevel).or_insert(trees) != trees {
            return Err(format!("entry {} has other device trees than another of its system", entry.label));
        }
    }
    Ok(())
}

fn tag_of(entry: &ReadEntry) -> Option<&str> {
    entry.label.strip_prefix("nixos-")
}

/// The title of an entry: only its date is taken from the file.
fn title(tag: &str, entry: &ReadEntry, system: &System, tags: &BTreeSet<&str>) -> Result<String, String> {
    if tag == "default" {
        return Ok("NixOS - Default".to_owned());
    }
    let wrong = || format!("entry {} has a title that is not that of its system", entry.label);
    let of_system = tag.split_once('-').is_some_and(|(number, name)| {
        let special = system.specialisation.as_deref().unwrap_or("default");
        number.parse::<u32>().is_ok_and(|_| plain_number(number)) && name == special
    });
    let rest = entry.title.strip_prefix("NixOS - Configuration ").ok_or_else(wrong)?;
    let (named, rest) = rest.split_once(" (").ok_or_else(wrong)?;
    let date = rest.get(..16).filter(|date| is_date(date)).ok_or_else(wrong)?;
    if !of_system || !tags.contains(named) {
        return Err(wrong());
    }
    Ok(format!("NixOS - Configuration {named} ({date} - {})", system.version))
}

fn plain_number(text: &str) -> bool {
    !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `2025-11-21 04:10`, or its first ten characters.
fn is_date(text: &str) -> bool {
    let pattern = "dddd-dd-dd dd:dd";
    text.len() <= pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, kind)| match kind {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

/// A device tree that an entry names: its directory, or a file in it.
fn device_tree(entry: &ReadEntry, system: &System) -> Result<Option<DeviceTree>, String> {
    let directory = system.device_trees.as_deref().map(flat).unwrap_or_default();
    match (&entry.fdt, &entry.fdtdir) {
        (None, None) => Ok(None),
        (None, Some(_)) => Ok(Some(DeviceTree::Directory(directory))),
        (Some(named), None) => {
            let file = named.strip_prefix("../nixos/").unwrap_or(named);
            let below = file.strip_prefix(&directory).and_then(|rest| rest.strip_prefix('/'));
            if !below.is_some_and(is_plain_path) {
                return Err(format!(
                    "entry {} has device trees that are not those of its system",
                    entry.label
                ));
            }
            Ok(Some(DeviceTree::File(file.to_owned())))
        }
        (Some(_), Some(_)) => Err(format!("entry {} has two device trees", entry.label)),
    }
}

/// A relative path of letters that no reader takes otherwise.
fn is_plain_path(path: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-._?=,@/".contains(c);
    !path.is_empty()
        && path.chars().all(is_plain)
        && path.split('/').all(|name| !["", ".", ".."].contains(&name))
}

/// The values of an entry of systemd-boot, each of a line of its own.
pub struct EntryLines<'t> {
    lines: Vec<(&'t str, &'t str)>,
}

impl<'t> EntryLines<'t> {
    /// Takes a text apart that has the form of the builder.
    pub fn of(text: &'t str) -> Result<Self, String> {
        let mut lines = Vec::new();
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            let shown = || line.chars().take(80).collect::<String>();
            let odd = || format!("its line {:?} is not as NixOS writes it", shown());
            let (key, value) = line.split_once(' ').ok_or_else(odd)?;
            if !value.chars().all(is_plain_text) || value.starts_with(' ') {
                return Err(odd());
            }
            lines.push((key, value));
        }
        let is_in = |order: &&[&str]| {
            let mut left = order.iter();
            lines.iter().all(|(key, _)| left.any(|next| next == key))
        };
        let ends = text.ends_with('\n');
        match (is_in(&ORDERS[0]), is_in(&ORDERS[1])) {
            (true, _) if ends => {}
            (_, true) if !ends => {}
            _ => return Err("its lines are not in the order in which NixOS writes them".to_owned()),
        }
        let entry = Self { lines };
        if let Some(id) = entry.value("machine-id")
            && (id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err("its machine-id is none".to_owned());
        }
        Ok(entry)
    }

    /// The value of a key, which is there at most once.
    pub fn value(&self, key: &str) -> Option<&'t str> {
        self.lines.iter().find(|(word, _)| *word == key).map(|(_, value)| *value)
    }

    /// Whether the entry is of a system: its number, and its command line as both builders write it.
    pub fn is_of(&self, system: &System) -> Result<(), String> {
        let version = self.value("version").and_then(|version| version.strip_prefix("Generation "));
        let (number, rest) = version.and_then(|version| version.split_once(' ')).unwrap_or_default();
        let date = rest.rsplit_once(", built on ").map_or("", |(_, date)| date);
        if number != system.generation.to_string() || date.len() != 10 || !is_date(date) {
            return Err("its version is not that of its generation".to_owned());
        }
        let wanted = system.document.as_ref().map_or("nixos", Document::sort_key);
        // Older builders write none.
        if self.value("sort-key").is_some_and(|found| found != wanted) {
            return Err("its sort-key is not that of its generation".to_owned());
        }
        let params = match &system.document {
            Some(document) => document.spec.kernel_params.join(" "),
            None => system.command_line.clone(),
        };
        let options = self.value("options").unwrap_or_default();
        let start = format!("init={}/init", system.toplevel);
        if options != format!("{start} {params}") && (options != start || !params.is_empty()) {
            return Err("its command line is not written as that of its generation".to_owned());
        }
        Ok(())
    }
}

/// A path on the EFI system partition to which a builder copies.
pub fn is_copied_to(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    lower.ends_with(".efi")
        && path.strip_prefix('/').is_some_and(is_plain_path)
        && ["/efi/nixos/", "/boot/nixos/", "/nixos/"].iter().any(|directory| lower.starts_with(directory))
}

fn is_plain_text(c: char) -> bool {
    !c.is_control() && (c == ' ' || !c.is_whitespace()) && c != '\u{feff}'
}

/// Compares a `loader.conf` with the form of the builder; its default is judged elsewhere.
pub fn loader_conf(text: &str) -> Result<(), String> {
    let mut lines: Vec<&str> =
        text.strip_suffix('\n').ok_or("it does not end with a line feed")?.split('\n').collect();
    let odd = |line: &str| {
        format!("its line {:?} is not as NixOS writes it", line.chars().take(80).collect::<String>())
    };
    let last = lines.pop().unwrap_or_default();
    if !last.strip_prefix("console-mode ").is_some_and(|mode| CONSOLE_MODES.contains(&mode)) {
        return Err(odd(last));
    }
    let mut lines = lines.into_iter().peekable();
    if let Some(line) = lines.next_if(|line| line.starts_with("timeout ")) {
        let value = &line["timeout ".len()..];
        let is_number =
            !value.is_empty() && value.len() < 8 && value.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number && !["menu-force", "menu-hidden", "menu-disabled"].contains(&value) {
            return Err(odd(line));
        }
    }
    if lines.next_if(|line| line.strip_prefix("preferred ").is_some_and(is_entry)).is_some() {
        lines.next_if(|line| *line == "default nixos-*").ok_or("it prefers an entry and has no default")?;
    } else {
        lines
            .next_if(|line| line.strip_prefix("default ").is_some_and(is_entry))
            .ok_or("its default is no entry")?;
    }
    match lines.find(|line| !FIXED.contains(line)) {
        Some(line) => Err(odd(line)),
        None => Ok(()),
    }
}

fn is_entry(name: &str) -> bool {
    name.starts_with("nixos-") && name.ends_with(".conf") && !name.contains('/') && is_plain_path(name)
}

/// Tells where two texts differ.
fn same(text: &str, expected: &str) -> Result<(), String> {
    if text == expected {
        return Ok(());
    }
    let (found, wanted): (Vec<&str>, Vec<&str>) =
        (text.split('\n').collect(), expected.split('\n').collect());
    let at = found.iter().zip(&wanted).position(|(found, wanted)| found != wanted);
    let at = at.unwrap_or(found.len().min(wanted.len()));
    let line = |lines: &[&str]| {
        lines
            .get(at)
            .map_or("nothing".to_owned(), |line| format!("{:?}", line.chars().take(120).collect::<String>()))
    };
    Err(format!("line {} is {}, NixOS writes {}", at + 1, line(&found), line(&wanted)))
}
