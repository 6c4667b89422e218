//! The systems that a card can boot by right: generations of the system profile and their specialisations.

use super::registry::Registry;
use crate::base_n;
use crate::format::boot::bootspec;
use crate::format::boot::bootspec::Document;
use crate::format::boot::systemd_boot;
use crate::format::disk::ext4::read::{Ext4, Kind};
use crate::format::nix::store_path::StorePath;
use crate::verify::card::findings::{Findings, Unsigned};
use crate::verify::card::part::Part;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Where profiles are.
pub const PROFILES: &str = "/nix/var/nix/profiles";
/// The most generations, and specialisations of one, that are looked at.
const MAX_GENERATIONS: usize = 1000;
const MAX_SPECIALISATIONS: usize = 100;
/// The longest text, in bytes.
const MAX_TEXT: u64 = 64 << 10;
const MAX_DOCUMENT: u64 = 4 << 20;

/// One system that can be booted.
pub struct System {
    /// The number of its generation.
    pub generation: u32,
    /// Its toplevel.
    pub toplevel: String,
    /// Its kernel, as the toplevel names it; the same for what follows.
    pub kernel: Option<String>,
    /// Its initrd.
    pub initrd: Option<String>,
    /// Its device trees.
    pub device_trees: Option<String>,
    /// Its command line without `init=`, word by word.
    pub params: Vec<String>,
    /// The same as it stands in `kernel-params`.
    pub command_line: String,
    /// The name of the specialisation, where it is one.
    pub specialisation: Option<String>,
    /// The version of NixOS.
    pub version: String,
    /// Its `boot.json`, where it has one; the same of the generation for a specialisation.
    pub document: Option<Document>,
    /// Whether signatures cover it, with all that it needs.
    pub is_covered: bool,
}

/// All of them.
pub struct Systems {
    /// Each.
    pub all: Vec<System>,
    /// Generations by number, with what their links say.
    pub links: BTreeMap<u32, String>,
}

impl Systems {
    /// Reads the links of the system profile.
    pub fn read(ext4: &Ext4<Part<'_>>, registry: &Registry, findings: &mut Findings) -> Self {
        let mut systems = Self { all: Vec::new(), links: BTreeMap::new() };
        for name in names(ext4, PROFILES) {
            let number = name.strip_prefix("system-").and_then(|rest| rest.strip_suffix("-link"));
            let Some(number) = number.and_then(|number| number.parse().ok()) else { continue };
            if systems.links.len() == MAX_GENERATIONS {
                break;
            }
            let path = format!("{PROFILES}/{name}");
            let Some(target) = link(ext4, &path) else {
                findings.bad(&path, "it is no link to a system");
                continue;
            };
            let is_path = StorePath::from_absolute(&target);
            if !is_path.is_ok_and(|target| registry.has(&target)) {
                findings.bad(&path, &format!("it leads to {target}, which is not a registered store path"));
                continue;
            }
            let is_covered = StorePath::from_absolute(&target).is_ok_and(|path| registry.covers(&path));
            systems.add(ext4, (number, is_covered), &target);
            systems.links.insert(number, target);
        }
        systems
    }

    fn add(&mut self, ext4: &Ext4<Part<'_>>, (generation, is_covered): (u32, bool), toplevel: &str) {
        let own = System { is_covered, ..system(ext4, generation, toplevel) };
        let inner =
            own.document.as_ref().map(|document| document.specialisations.clone()).unwrap_or_default();
        self.all.push(own);
        let directory = format!("{toplevel}/specialisation");
        for name in names(ext4, &directory).into_iter().take(MAX_SPECIALISATIONS) {
            if let Some(target) = link(ext4, &format!("{directory}/{name}")) {
                let special = system(ext4, generation, &target);
                let document = inner.get(&name).cloned().or_else(|| special.document.clone());
                let specialisation = Some(name);
                self.all.push(System { is_covered, specialisation, document, ..special });
            }
        }
    }

    /// The system of an entry of extlinux: that of its command line, and of the generation that its label names.
    pub fn of_entry(&self, line: &str, label: &str) -> Option<&System> {
        let found = self.of_command_line(line)?;
        let tag = label.strip_prefix("nixos-").unwrap_or(label);
        let Some((number, name)) = tag.split_once('-') else { return Some(found) };
        self.same(found, number.parse().ok()?, Some(name).filter(|name| *name != "default"))
    }

    /// The system of an entry of systemd-boot, whose file is called after its generation or its contents.
    pub fn of_name(&self, options: &str, name: &str, text: &str) -> Result<&System, String> {
        let found = self.of_command_line(options).ok_or("its command line is not that of a generation")?;
        let stem = name.trim_end_matches(".conf");
        let stem = match stem.split_once('+') {
            Some((stem, count)) if count.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => stem,
            Some(_) => return Err("it has a name that NixOS does not give".to_owned()),
            None => stem,
        };
        let Some(rest) = stem.strip_prefix("nixos-generation-") else {
            let digest = base_n::to_base16(&Sha256::digest(text.as_bytes()));
            let is_hashed = stem.strip_prefix("nixos-") == Some(&digest);
            let number = systemd_boot::parse(text).value("version").unwrap_or_default();
            let number = number.strip_prefix("Generation ").and_then(|rest| rest.split(' ').next());
            let number = number.and_then(|number| number.parse().ok()).unwrap_or(found.generation);
            let own = self.same(found, number, found.specialisation.as_deref());
            return own
                .filter(|_| is_hashed)
                .ok_or_else(|| "its name is not the digest of what it says".to_owned());
        };
        let (number, special) = match rest.split_once("-specialisation-") {
            Some((number, special)) => (number, Some(special)),
            None => (rest, None),
        };
        let own = number.parse().ok().and_then(|number| self.same(found, number, special));
        own.ok_or_else(|| "its command line is not that of the generation that it is called after".to_owned())
    }

    /// The system of a generation, where its toplevel is that of another one, which boots alike.
    fn same(&self, found: &System, generation: u32, special: Option<&str>) -> Option<&System> {
        let is_it = |system: &&System| {
            system.generation == generation
                && system.specialisation.as_deref() == special
                && system.toplevel == found.toplevel
        };
        self.all.iter().find(is_it)
    }

    /// Says that a generation is what is booted unless somebody chooses; one that no signature covers is damage where
    /// a key was named, unless the user takes such.
    pub fn tell_default(&self, path: &str, generation: u32, how: &str, findings: &mut Findings) {
        let own = self.all.iter().find(|system| system.generation == generation);
        let is_covered = own.is_some_and(|system| system.is_covered);
        match findings.unsigned.generations {
            Unsigned::Refused if findings.has_keys && !is_covered => findings.uncovered(path, how),
            _ => findings.since(how.to_owned()),
        }
    }

    /// The system that a command line starts: `init=` is its own, and the rest its parameters.
    pub fn of_command_line(&self, line: &str) -> Option<&System> {
        let mut words = line.split_ascii_whitespace();
        let init = words.next()?.strip_prefix("init=")?;
        let params: Vec<&str> = words.collect();
        let found = self
            .all
            .iter()
            .find(|system| init.strip_suffix("/init") == Some(&system.toplevel) || init == system.toplevel)?;
        (found.params == params).then_some(found)
    }
}

fn system(ext4: &Ext4<Part<'_>>, generation: u32, toplevel: &str) -> System {
    let of = |name: &str| link(ext4, &format!("{toplevel}/{name}"));
    let params = ext4.read_file(&format!("{toplevel}/kernel-params"), MAX_TEXT).unwrap_or_default();
    let command_line = String::from_utf8_lossy(&params).trim_end_matches('\n').to_owned();
    let params = command_line.split_ascii_whitespace().map(str::to_owned).collect();
    let version = ext4.read_file(&format!("{toplevel}/nixos-version"), MAX_TEXT).unwrap_or_default();
    let document = ext4.read_file(&format!("{toplevel}/boot.json"), MAX_DOCUMENT).ok();
    System {
        generation,
        toplevel: toplevel.to_owned(),
        kernel: of("kernel"),
        initrd: of("initrd"),
        device_trees: of("dtbs"),
        params,
        command_line,
        specialisation: None,
        version: String::from_utf8_lossy(&version).trim_end_matches('\n').to_owned(),
        document: document.and_then(|json| bootspec::parse(&json).ok()),
        is_covered: false,
    }
}

/// The target of a symlink.
pub fn link(ext4: &Ext4<Part<'_>>, path: &str) -> Option<String> {
    let inode = ext4.lookup(path.as_bytes()).ok().filter(|inode| inode.kind == Kind::Symlink)?;
    Some(String::from_utf8_lossy(&ext4.read_link(&inode).ok()?).into_owned())
}

/// The names in a directory, sorted; none where there is no directory.
pub fn names(ext4: &Ext4<Part<'_>>, path: &str) -> Vec<String> {
    let Ok(directory) = ext4.resolve(path.as_bytes()) else { return Vec::new() };
    let Ok(entries) = ext4.read_dir(&directory) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
    names.sort();
    names
}
