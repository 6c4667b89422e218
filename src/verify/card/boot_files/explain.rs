//! What NixOS's own builders write beside the first generation: copies of files of the store, entries for generations.
//!
//! Each is held against the system that it is for: a command line has the parameters of that system and no others, a
//! kernel the bytes of its own.

use super::rendered;
use super::rendered::{EntryLines, flat};
use crate::format::boot::{extlinux, systemd_boot};
use crate::format::disk::ext4::read::{Ext4, Inode, Kind};
use crate::verify::card::findings::Findings;
use crate::verify::card::part::Part;
use crate::verify::card::place::{Place, digest_of};
use crate::verify::card::store::systems::{System, Systems};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// The longest text of a boot loader, in bytes.
const MAX_TEXT: u64 = 1 << 20;
/// The most files of device trees that are looked at.
const MAX_FILES: usize = 20_000;
/// Words of lines that builders write.
const EXTLINUX: [&str; 9] =
    ["default", "timeout", "menu", "label", "linux", "initrd", "append", "fdtdir", "fdt"];
const ENTRY: [&str; 8] =
    ["title", "version", "linux", "initrd", "options", "machine-id", "devicetree", "sort-key"];
const LOADER: [&str; 6] =
    ["timeout", "default", "preferred", "console-mode", "editor", "reboot-for-bitlocker"];
/// Bytes of systemd-boot's random seed.
const RANDOM_SEED: u64 = 32;

/// Explains files by the systems that are there.
pub struct Explain<'a> {
    ext4: &'a Ext4<Part<'a>>,
    systems: &'a Systems,
    /// Files of the store that builders copy, by their lengths.
    copied: OnceCell<BTreeMap<u64, Vec<(String, Inode)>>>,
}

/// What a file is, when it is right.
type Explained = Result<Option<Told>, String>;

/// Why a file is right.
#[derive(Debug)]
pub struct Told {
    /// In words.
    pub why: String,
    /// The generation that it lets boot when nobody chooses.
    pub default: Option<u32>,
}

impl From<String> for Told {
    fn from(why: String) -> Self {
        Self { why, default: None }
    }
}

impl<'a> Explain<'a> {
    /// Explains by these.
    pub const fn new(ext4: &'a Ext4<Part<'a>>, systems: &'a Systems) -> Self {
        Self { ext4, systems, copied: OnceCell::new() }
    }

    /// Why a file that was written is another now; `None` when nothing explains it.
    pub fn changed(&self, place: &Place<'_>, path: &str) -> Explained {
        let lower = path.to_ascii_lowercase();
        if lower.ends_with("/extlinux.conf") {
            return self.extlinux(place, path).map(Some);
        }
        if lower == "/loader/loader.conf" {
            return self.loader(place, path).map(Some);
        }
        if lower.starts_with("/loader/entries/") {
            return self.entry(place, path).map(Some);
        }
        if lower == "/loader/entries.srel" {
            return Ok(None);
        }
        if lower.starts_with("/efi/boot/boot") || lower.starts_with("/efi/systemd/") {
            return Ok(self.copy(place, path, Some("/systemd/boot/efi/")).map(Told::from));
        }
        Ok(None)
    }

    /// Why a file is there that was not written; `None` when nothing explains it.
    pub fn added(
        &self,
        place: &Place<'_>,
        path: &str,
        len: u64,
        files: &BTreeMap<String, u64>,
    ) -> Option<Told> {
        let lower = path.to_ascii_lowercase();
        let is_kept = match &*lower {
            "/loader/random-seed" => len == RANDOM_SEED,
            "/efi/nixos/.extra-files" => len == 0,
            _ => false,
        };
        if is_kept {
            return Some("systemd-boot keeps it".to_owned().into());
        }
        if lower == "/loader/entries.srel" && len <= 16 {
            let is_right = place.read(path, 16).ok().flatten().is_some_and(|text| text == b"type1\n");
            return is_right.then(|| "systemd-boot keeps it".to_owned().into());
        }
        let is_rescued = lower.starts_with("/fsck") && lower.ends_with(".rec");
        if is_rescued && !lower[1..].contains('/') {
            return Some("fsck.fat found it".to_owned().into());
        }
        let below = below_boot(self.ext4, place, &lower);
        if below.starts_with("/nixos/") || lower.starts_with("/efi/nixos/") {
            return self.copy(place, path, None).map(Told::from);
        }
        if lower.starts_with("/loader/entries/") {
            return self.entry(place, path).ok();
        }
        if lower == "/loader/loader.conf" && files.keys().any(|name| name.starts_with("/loader/entries/")) {
            return self.loader(place, path).ok();
        }
        if below == "/extlinux/extlinux.conf" {
            return self.extlinux(place, path).ok();
        }
        None
    }

    /// The file of the store that this one is a copy of; `within` must be a part of its path.
    fn copy(&self, place: &Place<'_>, path: &str, within: Option<&str>) -> Option<String> {
        let len = place.len_of(path)?;
        let candidates = self.copied().get(&len)?;
        let digest = place.digest(path).ok()?;
        let same = |inode: &Inode| {
            let contents = self.ext4.open_file(inode).ok()?;
            Some(digest_of(contents).ok()? == digest)
        };
        let fits = |source: &str| within.is_none_or(|within| source.contains(within));
        let found = candidates.iter().find(|(source, inode)| fits(source) && same(inode) == Some(true))?;
        Some(format!("a copy of {}", found.0))
    }

    fn copied(&self) -> &BTreeMap<u64, Vec<(String, Inode)>> {
        self.copied.get_or_init(|| {
            let mut copied: BTreeMap<u64, Vec<(String, Inode)>> = BTreeMap::new();
            let mut left = MAX_FILES;
            for system in &self.systems.all {
                let loader = format!("{}/systemd/lib/systemd/boot/efi", system.toplevel);
                let paths = [&system.kernel, &system.initrd, &system.device_trees];
                for path in paths.into_iter().flatten().chain([&loader]) {
                    let Ok(inode) = self.ext4.resolve(path.as_bytes()) else { continue };
                    if inode.kind == Kind::File {
                        copied.entry(inode.size).or_default().push((path.clone(), inode));
                        continue;
                    }
                    for found in self.ext4.walk(&inode).flatten() {
                        // Device trees may be links into another path.
                        let name = format!("{path}/{}", String::from_utf8_lossy(&found.path));
                        let Ok(inode) = self.ext4.resolve(name.as_bytes()) else { continue };
                        if inode.kind == Kind::File && left > 0 {
                            left -= 1;
                            copied.entry(inode.size).or_default().push((name, inode));
                        }
                    }
                }
            }
            copied
        })
    }

    fn extlinux(&self, place: &Place<'_>, path: &str) -> Result<Told, String> {
        let text = text(place, path)?;
        words(&text, &EXTLINUX)?;
        // Copies lie in a directory beside that of the file.
        let top = path.strip_suffix("/extlinux/extlinux.conf").ok_or("U-Boot does not look for it here")?;
        let copies = format!("{top}/nixos/");
        let read = extlinux::parse(&text);
        let mut systems = Vec::new();
        for entry in &read.entries {
            let label = &entry.label;
            let system = self.systems.of_entry(&entry.command_line, label).ok_or_else(|| {
                format!("entry {label} has a command line that is not that of a generation")
            })?;
            let file = |name: &str| {
                let base = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                join(base, name)
            };
            let same = |what: &str, named: Option<String>, of: Option<&String>| {
                if named == of.map(|path| format!("{copies}{}", flat(path))) {
                    return Ok(());
                }
                Err(format!("entry {label} has a {what} that is not that of its system"))
            };
            same("kernel", Some(file(&entry.kernel)), system.kernel.as_ref())?;
            same("initrd", entry.initrd.as_deref().map(file), system.initrd.as_ref())?;
            let trees = entry.fdtdir.as_deref().or(entry.fdt.as_deref()).map(file);
            let wanted = system.device_trees.as_ref().map(|path| flat(path));
            let is_right = match (&trees, &wanted) {
                (None, _) => true,
                (Some(trees), Some(wanted)) => {
                    trees.strip_prefix(&copies).is_some_and(|trees| trees.starts_with(&**wanted))
                }
                (Some(_), None) => false,
            };
            if !is_right {
                return Err(format!("entry {label} has device trees that are not those of its system"));
            }
            self.has_tree(entry.fdt.as_deref(), system)?;
            systems.push(system);
        }
        let default = read.default.as_deref().unwrap_or_default();
        let Some(at) = read.entries.iter().position(|entry| entry.label == default) else {
            return Err(format!("its default {default:?} is no entry"));
        };
        rendered::extlinux(&text, &read, &systems)?;
        Ok(Told { why: said(&systems), default: Some(systems[at].generation) })
    }

    /// Whether a device tree that an entry names by its file is one of its system's.
    fn has_tree(&self, named: Option<&str>, system: &System) -> Result<(), String> {
        let (Some(named), Some(trees)) = (named, &system.device_trees) else { return Ok(()) };
        let start = format!("../nixos/{}/", flat(trees));
        let below = named.strip_prefix(&start).map(|below| format!("{trees}/{below}"));
        match below.and_then(|path| self.ext4.resolve(path.as_bytes()).ok()) {
            Some(inode) if inode.kind == Kind::File => Ok(()),
            _ => Err(format!("its system has no device tree {named:?}")),
        }
    }

    fn entry(&self, place: &Place<'_>, path: &str) -> Result<Told, String> {
        let system = self.system_of(place, path)?;
        Ok(said(&[system]).into())
    }

    /// The system that an entry of systemd-boot is for.
    fn system_of(&self, place: &Place<'_>, path: &str) -> Result<&System, String> {
        let name = path.rsplit('/').next().unwrap_or_default();
        if !name.starts_with("nixos-") || !name.ends_with(".conf") {
            return Err("it is no entry of NixOS".to_owned());
        }
        let text = text(place, path)?;
        words(&text, &ENTRY)?;
        let read = systemd_boot::parse(&text);
        let options = read.values("options").join(" ");
        let lines = EntryLines::of(&text)?;
        let system = self.systems.of_name(&options, name, &text)?;
        lines.is_of(system)?;
        let tree = system.document.as_ref().and_then(|document| document.device_tree().map(str::to_owned));
        // Older builders do not name it.
        let tree = tree.filter(|_| lines.value("devicetree").is_some());
        for (what, wanted) in [("linux", &system.kernel), ("initrd", &system.initrd), ("devicetree", &tree)] {
            let said = lines.value(what);
            if said.is_some_and(|said| !rendered::is_copied_to(said)) {
                return Err(format!("its {what} lies where no builder puts one"));
            }
            let is_right = match (said, wanted) {
                (None, None) => true,
                (Some(said), Some(wanted)) => self.is_copy(place, said, wanted),
                _ => false,
            };
            if !is_right {
                return Err(format!("its {what} is not that of its system"));
            }
        }
        Ok(system)
    }

    /// `loader.conf`, whose default is an entry of a generation, by its name or with a count of boots.
    fn loader(&self, place: &Place<'_>, path: &str) -> Result<Told, String> {
        let text = text(place, path)?;
        words(&text, &LOADER)?;
        let read = systemd_boot::parse(&text);
        let default = read.value("preferred").or_else(|| read.value("default")).unwrap_or_default();
        rendered::loader_conf(&text)
            .map_err(|why| format!("its default {default:?} is no entry, or {why}"))?;
        let stem = default.trim_end_matches(".conf");
        let is_it = |file: &str| {
            let name = file.rsplit('/').next().unwrap_or_default();
            let counted = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(".conf"));
            counted.is_some_and(|count| count.is_empty() || count.starts_with('+'))
        };
        let mut quiet = Findings::default();
        let files = place.boot_files(&mut quiet);
        let entries = files.keys().filter(|file| file.to_ascii_lowercase().starts_with("/loader/entries/"));
        let Some(file) = entries.into_iter().find(|file| is_it(file)) else {
            return Err(format!("its default {default:?} is no entry"));
        };
        let system = self.system_of(place, file)?;
        Ok(Told { why: "NixOS wrote it anew".to_owned(), default: Some(system.generation) })
    }

    /// Whether a file is a copy of what a path of the store leads to.
    fn is_copy(&self, place: &Place<'_>, path: &str, of: &str) -> bool {
        let original = || {
            let inode = self.ext4.resolve(of.as_bytes()).ok()?;
            digest_of(self.ext4.open_file(&inode).ok()?).ok()
        };
        place.digest(path).ok().is_some_and(|digest| Some(digest) == original())
    }
}

/// A path as U-Boot sees it, without the `/boot` that it also looks into.
fn below_boot<'p>(ext4: &Ext4<Part<'_>>, place: &Place<'_>, path: &'p str) -> &'p str {
    let top = if place.root().is_some() { ext4.mount_point() } else { String::new() };
    let path = path.strip_prefix(&top).unwrap_or(path);
    path.strip_prefix("/boot").filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

fn join(directory: &str, path: &str) -> String {
    let base = if path.starts_with('/') { "" } else { directory };
    let mut names: Vec<&str> = Vec::new();
    for name in base.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.iter().flat_map(|name| ["/", name]).collect()
}

fn text(place: &Place<'_>, path: &str) -> Result<String, String> {
    let bytes = place.read(path, MAX_TEXT)?.ok_or("it is gone")?;
    String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())
}

/// Refuses lines that no builder writes: a boot loader may follow them.
fn words(text: &str, known: &[&str]) -> Result<(), String> {
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let word = line.split(char::is_whitespace).next().unwrap_or_default();
        if !known.contains(&word.to_ascii_lowercase().as_str()) {
            let shown: String = line.chars().take(80).collect();
            return Err(format!("it has the line {shown:?}, which no builder of NixOS writes"));
        }
    }
    Ok(())
}

fn said(systems: &[&System]) -> String {
    let mut generations: Vec<u32> = systems.iter().map(|system| system.generation).collect();
    generations.sort_unstable();
    generations.dedup();
    let generations: Vec<String> = generations.iter().map(u32::to_string).collect();
    format!("NixOS wrote it for generation {}", generations.join(", "))
}
