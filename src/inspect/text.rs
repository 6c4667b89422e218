//! A report for people: 80 columns, no colours, nothing in it that could steer a terminal.

use super::report::BootEntry;
use super::report::FileSystem;
use super::report::Loader;
use super::report::Partition;
use super::report::Report;
use super::report::State;
use super::report::TableKind;
use crate::escape::shown;
use crate::format::file::date::Date;
use crate::sizes::show_bytes;

/// Where values begin.
const INDENT: usize = 13;
/// Where lines end; a word that is longer, such as a store path, is not cut.
const WIDTH: usize = 80;

/// The most boot loaders outside of partitions that are shown.
const MAX_RAW: usize = 64;

/// Lines of a name and a value.
struct Lines(String);

impl Lines {
    /// Adds a value, on as many lines as it needs.
    fn add(&mut self, name: &str, value: &str) {
        let mut line = format!("{name:<width$} ", width = INDENT - 1);
        let mut is_first = true;
        for word in value.split(' ') {
            let word = shown(word);
            let width = line.chars().count() + word.chars().count();
            if !is_first && width + 1 > WIDTH {
                self.end(&line);
                line = " ".repeat(INDENT);
                is_first = true;
            }
            if !is_first {
                line.push(' ');
            }
            line.push_str(&word);
            is_first = false;
        }
        self.end(&line);
    }

    fn end(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    fn maybe(&mut self, name: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

impl Report {
    /// The report in lines, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = Lines(String::new());
        if self.bytes == 0 {
            lines.add("machine", "this one");
        } else {
            self.image_lines(&mut lines);
        }
        self.nixos_lines(&mut lines);
        for entry in &self.boot_entries {
            lines.add("boots", &of_entry(entry));
        }
        self.provenance_lines(&mut lines);
        for problem in &self.problems {
            lines.add("problem", problem);
        }
        lines.0
    }

    fn image_lines(&self, lines: &mut Lines) {
        lines.add("image", &format!("{} ({} bytes)", show_bytes(self.bytes), self.bytes));
        match (self.table, &self.disk_id) {
            (Some(TableKind::Mbr), Some(id)) => lines.add("table", &format!("MBR, disk id 0x{id}")),
            (Some(TableKind::Gpt), Some(id)) => lines.add("table", &format!("GPT, GUID {id}")),
            _ => lines.add("table", "none"),
        }
        for partition in &self.partitions {
            partition.lines(lines);
        }
    }

    fn nixos_lines(&self, lines: &mut Lines) {
        let Some(nixos) = &self.nixos else {
            lines.add("NixOS", "none found");
            return;
        };
        let version = nixos.version.as_deref().unwrap_or("of an unknown version");
        let system = nixos.system.as_ref().map(|system| format!(" for {system}")).unwrap_or_default();
        lines.add("NixOS", &format!("{version}{system}, on partition {}", nixos.partition));
        lines.maybe("toplevel", nixos.toplevel.as_ref());
        lines.maybe("kernel", nixos.kernel.as_ref());
        lines.maybe("", nixos.kernel_version.as_ref().map(|version| format!("version {version}")).as_ref());
        lines.maybe("initrd", nixos.initrd.as_ref());
        if !nixos.kernel_params.is_empty() {
            lines.add("parameters", &nixos.kernel_params.join(" "));
        }
        if let (Some(paths), Some(bytes)) = (nixos.store_paths, nixos.nar_bytes) {
            lines.add("closure", &format!("{paths} store paths, {}", show_bytes(bytes)));
        }
        for generation in &nixos.generations {
            let is_current = Some(&generation.toplevel) == nixos.toplevel.as_ref();
            let current = if is_current { " (current)" } else { "" };
            lines.add("generation", &format!("{}: {}{current}", generation.number, generation.toplevel));
        }
        if !nixos.configuration.is_empty() {
            let names = nixos.configuration.join(" ");
            match &nixos.configuration_path {
                Some(path) => lines.add("config", &format!("{path}: {names}")),
                None => lines.add("/etc/nixos", &names),
            }
        }
    }

    fn provenance_lines(&self, lines: &mut Lines) {
        let Some(provenance) = &self.provenance else { return };
        let text = |key: &str| provenance[key].as_str();
        let version = text("nixflash").unwrap_or("?");
        let board = text("board").unwrap_or("?");
        lines.add("made by", &format!("nixflash {version} for the board {board}"));
        let current = self.nixos.as_ref().and_then(|nixos| nixos.toplevel.as_deref());
        // After an update the system is another one.
        if let Some(toplevel) = text("toplevel").filter(|toplevel| Some(*toplevel) != current) {
            lines.add("made with", toplevel);
        }
        for raw in provenance["rawFiles"].as_array().into_iter().flatten().take(MAX_RAW) {
            if let (Some(offset), Some(size)) = (raw["offset"].as_u64(), raw["size"].as_u64()) {
                let digest = raw["sha256"].as_str().unwrap_or("none");
                let what =
                    format!("{} at byte {offset}, outside of partitions, SHA-256 {digest}", show_bytes(size));
                lines.add("boot loader", &what);
            }
        }
        if let Some(revision) = text("revision").or_else(|| text("configurationRevision")) {
            lines.add("revision", revision);
        }
        for input in &self.inputs {
            let what = [input.revision.as_deref(), input.url.as_deref()];
            lines.add("input", &format!("{}: {}", input.name, what.map(|w| w.unwrap_or("-")).join(" ")));
        }
    }
}

impl Partition {
    fn lines(&self, lines: &mut Lines) {
        if self.number == 0 {
            lines.add("file system", "without a partition table");
        } else {
            let kind = self.type_name.map_or_else(|| format!("type {}", self.kind), str::to_owned);
            let name = self.name.as_ref().filter(|name| !name.is_empty());
            let name = name.map(|name| format!(", {name:?}")).unwrap_or_default();
            let active = if self.active { ", active" } else { "" };
            let (bytes, start) = (show_bytes(self.bytes), show_bytes(self.start));
            lines.add(
                &format!("partition {}", self.number),
                &format!("{bytes} at {start}, {kind}{name}{active}"),
            );
            lines.add("", &format!("PARTUUID {}", self.part_uuid));
        }
        if let Some(file_system) = &self.file_system {
            file_system.lines(lines);
        }
    }
}

impl FileSystem {
    fn lines(&self, lines: &mut Lines) {
        lines.add("", &format!("{} {:?}, UUID {}", self.kind, self.label, self.uuid));
        let inodes = self.free_inodes.map(|free| format!(", {free} inodes free")).unwrap_or_default();
        let state = match self.state {
            Some(State::Clean) => ", clean",
            Some(State::NotUnmounted) => ", not unmounted",
            Some(State::Replay) => ", journal to be replayed",
            Some(State::Errors) => ", with errors",
            None => "",
        };
        let (bytes, free) = (show_bytes(self.bytes), show_bytes(self.free));
        lines.add("", &format!("{bytes}, {free} free{inodes}{state}"));
        if let Some(mounted) = self.mounted.and_then(|time| u32::try_from(time).ok()) {
            let Date { year, month, day, hour, minute, .. } = Date::of(mounted);
            lines.add("", &format!("last mounted {year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC"));
        }
    }
}

fn of_entry(entry: &BootEntry) -> String {
    let loader = match entry.loader {
        Loader::Extlinux => "extlinux",
        Loader::SystemdBoot => "systemd-boot",
        Loader::Unified => "systemd-boot, unified",
        Loader::RaspberryPi => "Raspberry Pi",
    };
    let default = if entry.is_default { ", default" } else { "" };
    let title = if entry.title.is_empty() { &entry.label } else { &entry.title };
    format!("{title} ({loader} on partition {}{default}): {}", entry.partition, entry.kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_and_control_characters_shown() {
        let mut lines = Lines(String::new());
        let path = "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-nixos-system-testbed-25.11.small-and-longer";
        lines.add("name", &format!("{} {path} end", "word ".repeat(14).trim_end()));
        lines.add("partition 128", "a\u{1b}[2Jb\nc\u{202e}d \u{e9}");
        let indent = " ".repeat(INDENT);
        let expected = format!(
            "name         {}\n{indent}word\n{indent}{path}\n{indent}end\npartition 128 a\\u{{1b}}[2Jb\\nc\\u{{202e}}d \u{e9}\n",
            "word ".repeat(13).trim_end()
        );
        assert_eq!(lines.0, expected);
    }
}
