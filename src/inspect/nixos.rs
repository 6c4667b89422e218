//! The NixOS on a card: system profile, generations, kernel, boot entries, closure, provenance.

use super::{Part, Report, Volumes};
use crate::format::ext4_read::{Error, Ext4, Kind};
use crate::format::fat::volume::Volume;
use crate::format::{bootspec, extlinux, nix_db, systemd_boot};
use crate::tree;
use serde::Serialize;

/// The longest text that is read, in bytes.
const MAX_TEXT: u64 = 4 << 20;
/// The longest database that is read, in bytes.
const MAX_DATABASE: u64 = 256 << 20;
/// The most boot entries that are listed.
const MAX_ENTRIES: usize = 200;

/// A NixOS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Nixos {
    /// The number of the partition that is its root.
    pub partition: u32,
    /// The toplevel of the system profile.
    pub toplevel: Option<String>,
    /// Its version label.
    pub version: Option<String>,
    /// Its platform.
    pub system: Option<String>,
    /// Its kernel.
    pub kernel: Option<String>,
    /// Its initrd.
    pub initrd: Option<String>,
    /// Its kernel parameters.
    pub kernel_params: Vec<String>,
    /// The generations of the system profile: number and toplevel.
    pub generations: Vec<(u32, String)>,
    /// What the boot loader offers.
    pub boot_entries: Vec<BootEntry>,
    /// How many store paths are registered.
    pub store_paths: Option<u64>,
    /// The sum of their NARs, in bytes.
    pub nar_bytes: Option<u64>,
    /// The files in `/etc/nixos`.
    pub configuration: Vec<String>,
}

/// One entry of a boot loader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BootEntry {
    /// The file that it is in.
    pub file: String,
    /// Its label.
    pub label: String,
    /// The kernel, as written there.
    pub kernel: String,
    /// The command line.
    pub command_line: String,
}

/// Looks at every ext4 for a NixOS; the first is reported.
pub fn look(volumes: &Volumes<'_>, report: &mut Report) {
    for (number, ext4) in &volumes.ext4s {
        let mut look = Look { ext4, number: *number, problems: Vec::new() };
        if let Some(nixos) = look.nixos() {
            report.provenance = look.json("/nix/var/nixflash/manifest.json");
            report.nixos = Some(nixos);
        }
        report.problems.append(&mut look.problems);
        if report.nixos.is_some() {
            break;
        }
    }
    for (number, fat) in &volumes.fats {
        let entries = fat_entries(fat);
        if let Some(nixos) = &mut report.nixos {
            nixos.boot_entries.extend(entries);
        }
        if report.provenance.is_none() {
            match fat.read("nixflash.json", MAX_TEXT).map(|bytes| serde_json::from_slice(&bytes)) {
                Ok(Ok(value)) => report.provenance = Some(value),
                Ok(Err(error)) => report.problems.push(format!("partition {number}: nixflash.json: {error}")),
                Err(_) => {}
            }
        }
    }
}

struct Look<'a, 'b> {
    ext4: &'a Ext4<Part<'b>>,
    number: u32,
    problems: Vec<String>,
}

impl Look<'_, '_> {
    fn nixos(&mut self) -> Option<Nixos> {
        match self.ext4.lookup(b"/nix/store") {
            Ok(_) => {}
            Err(Error::NotFound(_)) => return None,
            Err(error) => {
                self.problems.push(format!("partition {}: {error}", self.number));
                return None;
            }
        }
        let generations = self.generations();
        let toplevel = self.profile(&generations);
        let mut nixos = Nixos { partition: self.number, generations, ..Nixos::default() };
        if let Some(toplevel) = &toplevel {
            self.toplevel(toplevel, &mut nixos);
        }
        nixos.toplevel = toplevel;
        nixos.boot_entries = self.extlinux();
        nixos.configuration = self.names("/etc/nixos");
        self.database(&mut nixos);
        Some(nixos)
    }

    /// Keeps an error, but for what is merely not there.
    fn keep<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Error::NotFound(_)) => None,
            Err(error) => {
                self.problems.push(format!("partition {}: {error}", self.number));
                None
            }
        }
    }

    fn text(&mut self, path: &str) -> Option<String> {
        let bytes = self.ext4.read_file(path, MAX_TEXT);
        self.keep(bytes).map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    fn json(&mut self, path: &str) -> Option<serde_json::Value> {
        let text = self.text(path)?;
        match serde_json::from_str(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(format!("partition {}: {path}: {error}", self.number));
                None
            }
        }
    }

    fn link(&mut self, path: &str) -> Option<String> {
        let target = self.ext4.lookup(path.as_bytes()).and_then(|inode| self.ext4.read_link(&inode));
        self.keep(target).map(|target| String::from_utf8_lossy(&target).into_owned())
    }

    fn names(&mut self, path: &str) -> Vec<String> {
        let entries = self.ext4.resolve(path.as_bytes()).and_then(|inode| match inode.kind {
            Kind::Directory => self.ext4.read_dir(&inode)?.collect::<Result<Vec<_>, _>>(),
            _ => Ok(Vec::new()),
        });
        let entries = self.keep(entries).unwrap_or_default();
        let mut names: Vec<String> =
            entries.into_iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
        names.sort();
        names
    }

    fn generations(&mut self) -> Vec<(u32, String)> {
        let mut generations = Vec::new();
        for name in self.names("/nix/var/nix/profiles") {
            let number = name
                .strip_prefix("system-")
                .and_then(|rest| rest.strip_suffix("-link"))
                .and_then(|n| n.parse().ok());
            if let Some(number) = number
                && let Some(target) = self.link(&format!("/nix/var/nix/profiles/{name}"))
            {
                generations.push((number, target));
            }
        }
        generations.sort_unstable();
        generations
    }

    /// The toplevel that the system profile means: a link to one of the generations, or to the store.
    fn profile(&mut self, generations: &[(u32, String)]) -> Option<String> {
        let target = self.link("/nix/var/nix/profiles/system")?;
        let name = target.rsplit('/').next().unwrap_or_default();
        let found = generations.iter().find(|(number, _)| name == format!("system-{number}-link"));
        Some(found.map_or(target.clone(), |(_, toplevel)| toplevel.clone()))
    }

    fn toplevel(&mut self, toplevel: &str, nixos: &mut Nixos) {
        nixos.version = self.text(&format!("{toplevel}/nixos-version"));
        nixos.system = self.text(&format!("{toplevel}/system"));
        if nixos.system.is_none() {
            self.problems
                .push(format!("partition {}: the toplevel {toplevel} is not there, or is none", self.number));
        }
        match self.text(&format!("{toplevel}/boot.json")).map(|json| bootspec::parse(json.as_bytes())) {
            Some(Ok(document)) => {
                nixos.kernel = Some(document.spec.kernel);
                nixos.initrd = document.spec.initrd;
                nixos.kernel_params = document.spec.kernel_params;
            }
            Some(Err(error)) => self.problems.push(format!("partition {}: boot.json: {error}", self.number)),
            None => {
                nixos.kernel = self.link(&format!("{toplevel}/kernel"));
                nixos.initrd = self.link(&format!("{toplevel}/initrd"));
                let params = self.text(&format!("{toplevel}/kernel-params")).unwrap_or_default();
                nixos.kernel_params = params.split_ascii_whitespace().map(str::to_owned).collect();
            }
        }
    }

    fn extlinux(&mut self) -> Vec<BootEntry> {
        for file in ["/boot/extlinux/extlinux.conf", "/extlinux/extlinux.conf"] {
            if let Some(text) = self.text(file) {
                let entries = extlinux::parse(&text).entries.into_iter().take(MAX_ENTRIES);
                return entries
                    .map(|entry| BootEntry {
                        file: file.to_owned(),
                        label: entry.label,
                        kernel: entry.kernel,
                        command_line: entry.command_line,
                    })
                    .collect();
            }
        }
        Vec::new()
    }

    fn database(&mut self, nixos: &mut Nixos) {
        let path = "/nix/var/nix/db/db.sqlite";
        let bytes = self.ext4.read_file(path, MAX_DATABASE);
        let Some(bytes) = self.keep(bytes) else { return };
        match nix_db::open_bytes(bytes).and_then(|db| nix_db::totals(&db)) {
            Ok((paths, bytes)) => {
                nixos.store_paths = Some(paths);
                nixos.nar_bytes = Some(bytes);
            }
            Err(error) => self.problems.push(format!("partition {}: {path}: {error}", self.number)),
        }
    }
}

/// The names in a directory of a FAT.
fn fat_names(fat: &Volume<Part<'_>>, path: &[&str]) -> Vec<String> {
    let node = fat.list().at(path.iter().map(|name| name.as_bytes()));
    match node.map(|node| &node.kind) {
        Some(tree::Kind::Directory(directory)) => {
            directory.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
        }
        _ => Vec::new(),
    }
}

fn fat_entries(fat: &Volume<Part<'_>>) -> Vec<BootEntry> {
    let mut found = Vec::new();
    let text =
        |path: &str| fat.read(path, MAX_TEXT).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    for name in fat_names(fat, &["loader", "entries"])
        .into_iter()
        .filter(|name| name.ends_with(".conf"))
        .take(MAX_ENTRIES)
    {
        let file = format!("loader/entries/{name}");
        let Some(text) = text(&file) else { continue };
        let read = systemd_boot::parse(&text);
        let value = |key: &str| read.value(key).unwrap_or_default().to_owned();
        let label = format!("{} {}", value("title"), value("version"));
        found.push(BootEntry { file, label, kernel: value("linux"), command_line: value("options") });
    }
    if let Some(text) = text("config.txt") {
        let kernels = text.lines().filter_map(|line| line.trim().strip_prefix("kernel="));
        found.extend(kernels.map(|kernel| BootEntry {
            file: "config.txt".to_owned(),
            label: "Raspberry Pi firmware".to_owned(),
            kernel: kernel.to_owned(),
            command_line: String::new(),
        }));
    }
    found
}
