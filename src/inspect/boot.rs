//! What the boot loaders on a card offer, and whether the files that they name are there.

use super::report::BootEntry;
use super::report::Loader;
use super::volume::{Fault, Volume, join};
use crate::format::boot::{extlinux, systemd_boot};

/// The longest `extlinux.conf`, in bytes, which holds all its entries.
const MAX_EXTLINUX: u64 = 1 << 20;
/// The longest of the other files, in bytes: one entry each, or little more. Linux takes command lines of 4 KiB.
const MAX_TEXT: u64 = 64 << 10;
/// Where U-Boot looks for its file.
const EXTLINUX: [&str; 2] = ["/boot/extlinux", "/extlinux"];
/// The kernel that the firmware of a Raspberry Pi starts when it is told nothing.
const DEFAULT_KERNEL: &str = "kernel8.img";

/// Looks for at most `room` boot entries on one volume; `problems` gets what is wrong with them.
pub fn entries(
    volume: &Volume<'_>,
    partition: u32,
    room: usize,
    problems: &mut Vec<Fault>,
) -> Vec<BootEntry> {
    let mut look = Look { volume, partition, room, found: Vec::new(), problems };
    look.extlinux();
    if let Volume::Fat(_) = volume {
        look.systemd_boot();
        look.unified();
        look.raspberry_pi();
    }
    look.found
}

struct Look<'a, 'b> {
    volume: &'a Volume<'b>,
    partition: u32,
    room: usize,
    found: Vec<BootEntry>,
    problems: &'a mut Vec<Fault>,
}

impl Look<'_, '_> {
    fn text(&mut self, path: &str, limit: u64) -> Option<String> {
        match self.volume.text(path, limit) {
            Ok(text) => text,
            Err(fault) => {
                self.problems.push(fault);
                None
            }
        }
    }

    fn names(&mut self, path: &str) -> Vec<String> {
        self.volume.names(path).unwrap_or_else(|fault| {
            self.problems.push(fault);
            Vec::new()
        })
    }

    /// As many of the entries in `place` as there is room for.
    fn first<T>(&mut self, mut entries: Vec<T>, place: &str) -> Vec<T> {
        let room = self.room.saturating_sub(self.found.len());
        if entries.len() > room {
            self.problems.push(format!("{place}: {} entries are not shown", entries.len() - room));
            entries.truncate(room);
        }
        entries
    }

    /// Adds an entry, after a look whether its files are there.
    fn add(&mut self, entry: BootEntry, directory: &str) {
        for file in [Some(&entry.kernel), entry.initrd.as_ref(), entry.device_tree.as_ref()] {
            let Some(file) = file.filter(|file| !file.is_empty()) else { continue };
            if self.volume.lacks(&join(directory, file)) {
                self.problems
                    .push(format!("{}: {} names {file}, which is not there", entry.file, entry.label));
            }
        }
        self.found.push(entry);
    }

    fn entry(&self, loader: Loader, file: &str) -> BootEntry {
        BootEntry { loader, partition: self.partition, file: file.to_owned(), ..BootEntry::default() }
    }

    fn extlinux(&mut self) {
        for directory in EXTLINUX {
            let file = format!("{directory}/extlinux.conf");
            let Some(text) = self.text(&file, MAX_EXTLINUX) else { continue };
            let read = extlinux::parse(&text);
            for entry in self.first(read.entries, &file) {
                let entry = BootEntry {
                    is_default: read.default.as_ref() == Some(&entry.label),
                    label: entry.label,
                    title: entry.title,
                    kernel: entry.kernel,
                    initrd: entry.initrd,
                    device_tree: entry.fdt.or(entry.fdtdir),
                    command_line: entry.command_line,
                    ..self.entry(Loader::Extlinux, &file)
                };
                self.add(entry, directory);
            }
        }
    }

    fn systemd_boot(&mut self) {
        let conf = self.text("/loader/loader.conf", MAX_TEXT).unwrap_or_default();
        let default = systemd_boot::parse(&conf).value("default").unwrap_or_default().to_owned();
        let mut matched = default.is_empty() || default.contains(['*', '?', '@']);
        let mut names = self.names("/loader/entries");
        names.retain(|name| name.ends_with(".conf"));
        for name in self.first(names, "/loader/entries") {
            let file = format!("/loader/entries/{name}");
            let Some(text) = self.text(&file, MAX_TEXT) else { continue };
            let read = systemd_boot::parse(&text);
            let value = |key: &str| read.value(key).unwrap_or_default().to_owned();
            let is_default = name == default || name.strip_suffix(".conf") == Some(&default);
            matched |= is_default;
            let entry = BootEntry {
                is_default,
                label: name,
                title: [value("title"), value("version")].join(" ").trim().to_owned(),
                kernel: value("linux"),
                initrd: read.value("initrd").map(str::to_owned),
                device_tree: read.value("devicetree").map(str::to_owned),
                command_line: read.values("options").join(" "),
                ..self.entry(Loader::SystemdBoot, &file)
            };
            self.add(entry, "/");
        }
        if !matched && !self.found.is_empty() {
            self.problems.push(format!("/loader/loader.conf: the default {default} is no entry"));
        }
    }

    /// Kernel, initrd and command line in one file, which systemd-boot finds by itself.
    fn unified(&mut self) {
        let mut names = self.names("/EFI/Linux");
        names.retain(|name| name.to_ascii_lowercase().ends_with(".efi"));
        for name in self.first(names, "/EFI/Linux") {
            let file = format!("/EFI/Linux/{name}");
            let entry = self.entry(Loader::Unified, &file);
            self.found.push(BootEntry { label: name, kernel: file, ..entry });
        }
    }

    fn raspberry_pi(&mut self) {
        let file = "/config.txt";
        let Some(text) = self.text(file, MAX_TEXT) else { return };
        let (mut section, mut prefix) = ("all", "");
        let mut kernels = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name;
            } else if let Some((key, value)) = line.split_once('=') {
                match key {
                    "os_prefix" => prefix = value,
                    "kernel" => kernels.push((section, value)),
                    _ => {}
                }
            }
        }
        if kernels.is_empty() && !self.volume.lacks(DEFAULT_KERNEL) {
            kernels.push(("all", DEFAULT_KERNEL));
        }
        // Without a prefix it may be that of a kernel that is no kernel: U-Boot has its own command line.
        let command_line = match prefix {
            "" => None,
            prefix => self.text(&format!("/{prefix}cmdline.txt"), MAX_TEXT),
        };
        let command_line = command_line.unwrap_or_default().trim().to_owned();
        for (section, kernel) in self.first(kernels, file) {
            let entry = BootEntry {
                label: format!("[{section}]"),
                kernel: format!("{prefix}{kernel}"),
                command_line: command_line.clone(),
                ..self.entry(Loader::RaspberryPi, file)
            };
            self.add(entry, "/");
        }
    }
}
