//! `extlinux.conf` as NixOS's generic-extlinux-compatible builder writes it, and as U-Boot reads it.
//!
//! ```text
//! DEFAULT label | TIMEOUT tenths | MENU TITLE text
//! LABEL label
//!   MENU LABEL text | LINUX file | INITRD file | APPEND command line | FDT file | FDTDIR directory
//! ```
//! Files are relative to `extlinux.conf`. Sources: nixpkgs
//! `nixos/modules/system/boot/loader/generic-extlinux-compatible/extlinux-conf-builder.sh`; U-Boot `boot/pxe_utils.c`
//! for the words, which may be written in any case.

use crate::format::file::date::Date;
use std::cmp::Ordering;
use std::fmt::Write;

/// What one entry boots; files are names in `/boot/nixos`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kernel, as a name in `/boot/nixos`.
    pub kernel: String,
    /// The initrd, as a name in `/boot/nixos`.
    pub initrd: Option<String>,
    /// What the kernel is told of the board, where the boot loader does not know.
    pub device_tree: Option<DeviceTree>,
    /// The `init=` of the command line.
    pub init: String,
    /// The rest of the command line, as it stands in `kernel-params`.
    pub kernel_params: String,
}

/// Where device trees are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceTree {
    /// In this directory; the boot loader knows the name.
    Directory(String),
    /// This file (`hardware.deviceTree.name`).
    File(String),
}

/// A generation of the system, or one of its specialisations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The number of the generation and the name of the specialisation, or `default`.
    pub tag: String,
    /// When it was built, seconds since 1970.
    pub built: u32,
    /// The NixOS version.
    pub version: String,
    /// What it boots.
    pub entry: Entry,
}

/// A whole file: the default, and generations with their specialisations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long the menu waits; below 0 for ever, 0 for no menu at all.
    pub timeout_seconds: i64,
    /// The entry that is booted where nobody chooses.
    pub default: Entry,
    /// Generations, in the order of the menu.
    pub generations: Vec<Generation>,
}

impl Config {
    /// The text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = head("nixos-default", self.timeout_seconds);
        add(&mut text, "default", "NixOS - Default", &self.default);
        for Generation { tag, built, version, entry } in &self.generations {
            let Date { year, month, day, hour, minute, .. } = Date::of(*built);
            let date = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}");
            add(&mut text, tag, &format!("NixOS - Configuration {tag} ({date} - {version})"), entry);
        }
        text
    }
}

/// What a file begins with: which entry is booted when nobody chooses, and how long the menu waits.
#[must_use]
pub fn head(default: &str, timeout_seconds: i64) -> String {
    // With no time to wait there is no menu either; U-Boot would take a timeout of 0 for endless.
    let (timeout, menu) = match timeout_seconds {
        ..0 => (0, true),
        0 => (1, false),
        seconds => (seconds.saturating_mul(10), true),
    };
    let title = if menu { format!("MENU TITLE {}\n", "-".repeat(60)) } else { String::new() };
    format!(
        "# Generated file, all changes will be lost on nixos-rebuild!\n\n\
         # Change this to e.g. nixos-42 to temporarily boot to an older configuration.\n\
         DEFAULT {default}\n\nTIMEOUT {timeout}\n{title}"
    )
}

/// Adds an entry to a file.
pub fn add(text: &mut String, tag: &str, title: &str, entry: &Entry) {
    let mut line = |indent: &str, word: &str, value: &str| {
        // cannot fail: a string takes everything
        let _ = writeln!(text, "{indent}{word} {value}");
    };
    line("\n", "LABEL", &format!("nixos-{tag}"));
    line("  ", "MENU LABEL", title);
    line("  ", "LINUX", &format!("../nixos/{}", entry.kernel));
    if let Some(initrd) = &entry.initrd {
        line("  ", "INITRD", &format!("../nixos/{initrd}"));
    }
    line("  ", "APPEND", &format!("init={} {}", entry.init, entry.kernel_params));
    match &entry.device_tree {
        Some(DeviceTree::Directory(name)) => line("  ", "FDTDIR", &format!("../nixos/{name}")),
        Some(DeviceTree::File(name)) => line("  ", "FDT", &format!("../nixos/{name}")),
        None => {}
    }
}

/// The order of specialisations in the menu, that of `sort -n -r`: from the largest number that a name begins with
/// to the smallest, then bytewise from the last to the first.
#[must_use]
pub fn menu_order(a: &str, b: &str) -> Ordering {
    numeric(b, a)
}

/// The order of `sort -n`.
fn numeric(a: &str, b: &str) -> Ordering {
    // Numbers of any length, as text without leading zeros; no number is 0.
    let number = |name: &str| -> (usize, String) {
        let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
        let digits = digits.trim_start_matches('0').to_owned();
        (digits.len(), digits)
    };
    number(a).cmp(&number(b)).then_with(|| a.cmp(b))
}

/// One entry, read; files are written as they are in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadEntry {
    /// The word behind `LABEL`.
    pub label: String,
    /// What the menu calls it.
    pub title: String,
    /// The word behind `LINUX` or `KERNEL`.
    pub kernel: String,
    /// The word behind `INITRD`.
    pub initrd: Option<String>,
    /// The command line.
    pub command_line: String,
    /// The device tree.
    pub fdt: Option<String>,
    /// The directory of device trees.
    pub fdtdir: Option<String>,
}

/// A whole file, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The label of the entry that is booted when nobody chooses.
    pub default: Option<String>,
    /// What the menu is called.
    pub title: Option<String>,
    /// How long the menu waits, in tenths of a second; 0 for ever.
    pub timeout: Option<u32>,
    /// The entries, in the order of the file.
    pub entries: Vec<ReadEntry>,
}

/// Reads a file; lines that are not known are passed over, as U-Boot does.
#[must_use]
pub fn parse(text: &str) -> Read {
    let mut read = Read::default();
    for line in text.lines() {
        let (word, value) = split(line);
        let value = || value.to_owned();
        match (word.to_ascii_lowercase().as_str(), read.entries.last_mut()) {
            ("label", _) => read.entries.push(ReadEntry { label: value(), ..ReadEntry::default() }),
            ("menu", entry) => menu(split(line).1, entry, &mut read.title),
            ("default", _) => read.default = Some(value()),
            ("timeout", _) => read.timeout = value().parse().ok(),
            ("linux" | "kernel", Some(entry)) => entry.kernel = value(),
            ("initrd", Some(entry)) => entry.initrd = Some(value()),
            ("append", Some(entry)) => entry.command_line = value(),
            ("fdt" | "devicetree", Some(entry)) => entry.fdt = Some(value()),
            ("fdtdir" | "devicetreedir", Some(entry)) => entry.fdtdir = Some(value()),
            _ => {}
        }
    }
    read
}

/// `MENU LABEL` belongs to the entry, `MENU TITLE` to the file.
fn menu(rest: &str, entry: Option<&mut ReadEntry>, title: &mut Option<String>) {
    let (word, value) = split(rest);
    match (word.to_ascii_lowercase().as_str(), entry) {
        ("label", Some(entry)) => value.clone_into(&mut entry.title),
        ("title", _) => *title = Some(value.to_owned()),
        _ => {}
    }
}

/// The first word of a line, and the rest.
fn split(line: &str) -> (&str, &str) {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let default = Entry {
            kernel: "k-linux-6.12-Image".to_owned(),
            initrd: Some("i-initrd".to_owned()),
            device_tree: Some(DeviceTree::Directory("k-linux-6.12-dtbs".to_owned())),
            init: "/nix/store/t/init".to_owned(),
            kernel_params: "loglevel=4 lsm=yama".to_owned(),
        };
        let other = Entry {
            device_tree: None,
            initrd: None,
            kernel_params: String::new(),
            init: "/nix/store/s/init".to_owned(),
            ..default.clone()
        };
        let board = Entry {
            device_tree: Some(DeviceTree::File("k-dtbs/rockchip/board.dtb".to_owned())),
            ..other.clone()
        };
        let generation = |tag: &str, entry| Generation {
            tag: tag.to_owned(),
            built: 1_763_698_200,
            version: "25.11".to_owned(),
            entry,
        };
        let generations = vec![
            generation("1-default", default.clone()),
            generation("1-b", board),
            generation("1-a", other),
        ];
        Config { timeout_seconds: 5, default, generations }
    }

    #[test]
    fn the_file_is_that_of_the_builder() {
        let expected = "\
# Generated file, all changes will be lost on nixos-rebuild!

# Change this to e.g. nixos-42 to temporarily boot to an older configuration.
DEFAULT nixos-default

TIMEOUT 50
MENU TITLE ------------------------------------------------------------

LABEL nixos-default
  MENU LABEL NixOS - Default
  LINUX ../nixos/k-linux-6.12-Image
  INITRD ../nixos/i-initrd
  APPEND init=/nix/store/t/init loglevel=4 lsm=yama
  FDTDIR ../nixos/k-linux-6.12-dtbs

LABEL nixos-1-default
  MENU LABEL NixOS - Configuration 1-default (2025-11-21 04:10 - 25.11)
  LINUX ../nixos/k-linux-6.12-Image
  INITRD ../nixos/i-initrd
  APPEND init=/nix/store/t/init loglevel=4 lsm=yama
  FDTDIR ../nixos/k-linux-6.12-dtbs

LABEL nixos-1-b
  MENU LABEL NixOS - Configuration 1-b (2025-11-21 04:10 - 25.11)
  LINUX ../nixos/k-linux-6.12-Image
  APPEND init=/nix/store/s/init \n  FDT ../nixos/k-dtbs/rockchip/board.dtb

LABEL nixos-1-a
  MENU LABEL NixOS - Configuration 1-a (2025-11-21 04:10 - 25.11)
  LINUX ../nixos/k-linux-6.12-Image
  APPEND init=/nix/store/s/init \n";
        assert_eq!(config().render(), expected);
    }

    #[test]
    fn timeouts_are_those_of_the_builder() {
        let head = |timeout_seconds| {
            let text = Config { timeout_seconds, ..config() }.render();
            let from = text.find("TIMEOUT").unwrap();
            text[from..text.find("  MENU LABEL").unwrap()].replace(&"-".repeat(60), "---")
        };
        assert_eq!(head(-1), "TIMEOUT 0\nMENU TITLE ---\n\nLABEL nixos-default\n");
        assert_eq!(head(0), "TIMEOUT 1\n\nLABEL nixos-default\n");
        assert_eq!(head(4_294_967_295), "TIMEOUT 42949672950\nMENU TITLE ---\n\nLABEL nixos-default\n");
    }

    #[test]
    fn specialisations_are_sorted_as_sort_does() {
        // `printf '%s\n' ... | LC_ALL=C sort -n -r`
        let mut names = ["b", "a", "10-x", "9-x", "009", "Z", "100000000000000000000", "-"];
        names.sort_by(|a, b| menu_order(a, b));
        assert_eq!(names, ["100000000000000000000", "10-x", "9-x", "009", "b", "a", "Z", "-"]);
    }

    #[test]
    fn what_is_written_is_read() {
        let config = config();
        let read = parse(&config.render());
        assert_eq!((read.default.as_deref(), read.timeout), (Some("nixos-default"), Some(50)));
        let labels: Vec<_> = read.entries.iter().map(|entry| &entry.label[..]).collect();
        assert_eq!(labels, ["nixos-default", "nixos-1-default", "nixos-1-b", "nixos-1-a"]);
        assert_eq!(
            read.entries[0],
            ReadEntry {
                label: "nixos-default".to_owned(),
                title: "NixOS - Default".to_owned(),
                kernel: "../nixos/k-linux-6.12-Image".to_owned(),
                initrd: Some("../nixos/i-initrd".to_owned()),
                command_line: "init=/nix/store/t/init loglevel=4 lsm=yama".to_owned(),
                fdt: None,
                fdtdir: Some("../nixos/k-linux-6.12-dtbs".to_owned()),
            }
        );
        assert_eq!(read.entries[2].fdt.as_deref(), Some("../nixos/k-dtbs/rockchip/board.dtb"));
    }

    #[test]
    fn other_files_are_read_as_u_boot_does() {
        let read = parse(
            "menu title\tx y\r\nLINUX before any label\ndefault b\ntimeout soon\n\nlabel  b \n\tkernel /Image\n\
             append\nAPPEND a  b\nfoo bar\nmenu\nmenu label  a title\n",
        );
        assert_eq!(
            (read.title.as_deref(), read.timeout, read.default.as_deref()),
            (Some("x y"), None, Some("b"))
        );
        let entry = ReadEntry {
            label: "b".to_owned(),
            title: "a title".to_owned(),
            kernel: "/Image".to_owned(),
            command_line: "a  b".to_owned(),
            ..ReadEntry::default()
        };
        assert_eq!(read.entries, [entry]);
        assert_eq!(parse("\0\u{fffd}"), Read::default());
    }
}
