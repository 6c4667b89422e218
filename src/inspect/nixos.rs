//! The NixOS on a card: system profile, generations, kernel, closure, configuration, provenance.

use super::report::Generation;
use super::report::Input;
use super::report::Nixos;
use super::volume::{Fault, Volume, join};
use crate::format::boot::bootspec;
use crate::format::file::json;
use crate::format::nix::database;
use crate::format::nix::write_ahead_log;
use std::io::Read;

/// The longest text that is read, in bytes.
const MAX_TEXT: u64 = 4 << 20;
/// The longest manifest, in bytes.
const MAX_MANIFEST: u64 = 16 << 20;
/// The longest database that is read; all of it is in memory.
const MAX_DATABASE: u64 = 192 << 20;
/// The most inputs of a flake that are listed.
const MAX_INPUTS: usize = 1000;
/// The most generations that are listed.
const MAX_GENERATIONS: usize = 1000;

/// Where the configuration is, unless the manifest says otherwise.
pub const CONFIGURATION: &str = "/etc/nixos";
const PROFILES: &str = "/nix/var/nix/profiles";
const DATABASE: &str = "/nix/var/nix/db/db.sqlite";
/// What nixflash writes about a card, on its root and on its FAT.
const MANIFEST: [&str; 2] = ["/nix/var/nixflash/manifest.json", "/nixflash.json"];

/// Reads what nixflash wrote on a volume; `None` when it wrote nothing.
pub fn manifest(volume: &Volume<'_>, problems: &mut Vec<Fault>) -> Option<serde_json::Value> {
    let mut look = Look { volume, problems };
    MANIFEST.iter().find_map(|path| {
        let read = volume.read(path, MAX_MANIFEST);
        let bytes = look.keep(read)??;
        look.keep(json::parse(&bytes).map_err(|error| format!("{path}: {error}")))
    })
}

/// Where a manifest says that the configuration was put; `/etc/nixos` without one.
#[must_use]
pub fn configuration(manifest: Option<&serde_json::Value>) -> &str {
    let path = manifest.and_then(|manifest| manifest["configuration"]["path"].as_str());
    path.filter(|path| path.starts_with('/')).unwrap_or(CONFIGURATION)
}

/// What the `flake.lock` of the configuration pins; nothing where there is none.
pub fn inputs(volume: &Volume<'_>, place: &str, problems: &mut Vec<Fault>) -> Vec<Input> {
    let path = &format!("{place}/flake.lock");
    let mut look = Look { volume, problems };
    let read = volume.read(path, MAX_TEXT);
    let Some(Some(bytes)) = look.keep(read) else { return Vec::new() };
    let parsed: Result<serde_json::Value, _> = json::parse(&bytes);
    let parsed = parsed.map_err(|error| format!("{path}: {error}"));
    let Some(lock) = look.keep(parsed) else { return Vec::new() };
    let root = lock["root"].as_str().unwrap_or("root");
    let nodes = lock["nodes"].as_object().into_iter().flatten().filter(|(name, _)| *name != root);
    let input = |(name, node): (&String, &serde_json::Value)| {
        let locked = &node["locked"];
        let text = |key: &str| locked[key].as_str().map(str::to_owned);
        let url = text("url")
            .or_else(|| text("path"))
            .or_else(|| Some(format!("{}:{}/{}", text("type")?, text("owner")?, text("repo")?)));
        Input {
            name: name.clone(),
            url,
            revision: text("rev"),
            last_modified: locked["lastModified"].as_u64(),
            nar_hash: text("narHash"),
        }
    };
    nodes.map(input).take(MAX_INPUTS).collect()
}

/// Looks for a NixOS on a volume of that number; `place` is the directory of its configuration.
pub fn look(
    volume: &Volume<'_>,
    (partition, place): (u32, &str),
    problems: &mut Vec<Fault>,
) -> Option<Nixos> {
    if matches!(volume, Volume::Fat(_)) || volume.lacks("/nix/store") {
        return None;
    }
    let mut look = Look { volume, problems };
    let mut nixos = Nixos { partition, generations: look.generations(), ..Nixos::default() };
    nixos.toplevel = look.profile();
    if let Some(toplevel) = nixos.toplevel.clone() {
        look.toplevel(&toplevel, &mut nixos);
    }
    let names = volume.names(place);
    nixos.configuration = look.keep(names).unwrap_or_default();
    if place != CONFIGURATION {
        nixos.configuration_path = Some(place.to_owned());
    }
    look.database(&mut nixos);
    Some(nixos)
}

struct Look<'a, 'b> {
    volume: &'a Volume<'b>,
    problems: &'a mut Vec<Fault>,
}

impl Look<'_, '_> {
    /// Keeps what is wrong.
    fn keep<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.problems.push(fault)).ok()
    }

    fn text(&mut self, path: &str) -> Option<String> {
        let text = self.volume.text(path, MAX_TEXT);
        self.keep(text)?.map(|text| text.trim_end().to_owned())
    }

    fn link(&mut self, path: &str) -> Option<String> {
        let target = self.volume.link(path);
        self.keep(target)?
    }

    fn generations(&mut self) -> Vec<Generation> {
        let names = self.volume.names(PROFILES);
        let numbers = self.keep(names).unwrap_or_default().into_iter();
        let number = |name: &str| name.strip_prefix("system-")?.strip_suffix("-link")?.parse().ok();
        let mut numbers: Vec<u32> = numbers.filter_map(|name| number(&name)).collect();
        numbers.sort_unstable();
        let left_out = numbers.len().saturating_sub(MAX_GENERATIONS);
        if left_out > 0 {
            self.problems.push(format!("{left_out} generations are not shown"));
        }
        let shown = numbers.into_iter().skip(left_out);
        shown
            .filter_map(|number| {
                let toplevel = self.link(&format!("{PROFILES}/system-{number}-link"))?;
                if self.volume.lacks(&toplevel) {
                    self.problems.push(format!("generation {number} is {toplevel}, which is not there"));
                }
                Some(Generation { number, toplevel })
            })
            .collect()
    }

    /// The toplevel that the system profile leads to, over links among the profiles.
    fn profile(&mut self) -> Option<String> {
        let mut path = format!("{PROFILES}/system");
        for _ in 0..8 {
            let Some(target) = self.link(&path) else { break };
            path = join(PROFILES, &target);
            if !path.starts_with("/nix/var/") {
                return Some(path);
            }
        }
        self.problems.push(format!("{PROFILES}/system leads to no system"));
        None
    }

    fn toplevel(&mut self, toplevel: &str, nixos: &mut Nixos) {
        let file = |name: &str| format!("{toplevel}/{name}");
        if self.volume.lacks(toplevel) {
            self.problems.push(format!("the system profile is {toplevel}, which is not there"));
            return;
        }
        nixos.version = self.text(&file("nixos-version"));
        nixos.system = self.text(&file("system"));
        let modules = self.volume.names(&file("kernel-modules/lib/modules"));
        nixos.kernel_version = self.keep(modules).unwrap_or_default().into_iter().next();
        let spec = self.boot_json(&file("boot.json"));
        let spec = spec.unwrap_or_else(|| self.synthesize(toplevel, nixos));
        for (what, path) in
            [("kernel", Some(&spec.kernel)), ("initrd", spec.initrd.as_ref()), ("init", Some(&spec.init))]
        {
            if let Some(path) = path.filter(|path| path.is_empty() || self.volume.lacks(path)) {
                self.problems.push(format!("the {what} of the system is {path:?}, which is not there"));
            }
        }
        nixos.label = Some(spec.label);
        nixos.kernel = Some(spec.kernel).filter(|path| !path.is_empty());
        nixos.initrd = spec.initrd;
        nixos.init = Some(spec.init);
        nixos.kernel_params = spec.kernel_params;
    }

    fn boot_json(&mut self, path: &str) -> Option<bootspec::BootSpec> {
        let json = self.text(path)?;
        let document = bootspec::parse(json.as_bytes()).map_err(|error| format!("{path}: {error}"));
        self.keep(document).map(|document| document.spec)
    }

    /// For a system without `boot.json`, or with a damaged one.
    fn synthesize(&mut self, toplevel: &str, nixos: &Nixos) -> bootspec::BootSpec {
        let kernel = self.link(&format!("{toplevel}/kernel")).unwrap_or_default();
        let initrd = self.link(&format!("{toplevel}/initrd"));
        let older = bootspec::Older {
            toplevel,
            system: nixos.system.as_deref().unwrap_or_default(),
            version: nixos.version.as_deref().unwrap_or_default(),
            kernel: &kernel,
            kernel_version: nixos.kernel_version.as_deref(),
            kernel_params: &self.text(&format!("{toplevel}/kernel-params")).unwrap_or_default(),
            initrd: initrd.as_deref(),
            has_secrets: !self.volume.lacks(&format!("{toplevel}/append-initrd-secrets")),
        };
        older.synthesize()
    }

    fn database(&mut self, nixos: &mut Nixos) {
        let log = self.volume.read(&format!("{DATABASE}-wal"), MAX_DATABASE);
        let log = self.keep(log).flatten().unwrap_or_default();
        let opened = self.volume.open_file(DATABASE, MAX_DATABASE);
        let Some(Some((len, mut contents))) = self.keep(opened) else { return };
        let opened = if log.is_empty() {
            database::open_untrusted(contents, len)
        } else {
            let mut bytes = Vec::new();
            if let Err(error) = contents.read_to_end(&mut bytes) {
                return self.problems.push(format!("{DATABASE}: {error}"));
            }
            if write_ahead_log::apply(&mut bytes, &log, MAX_DATABASE) == 0 {
                let len = log.len();
                self.problems
                    .push(format!("{DATABASE}: {len} bytes of its write-ahead log hold no change of it"));
            }
            database::open_untrusted(&bytes[..], crate::ints::to_u64(bytes.len()))
        };
        let totals = opened.and_then(|db| database::totals(&db));
        if let Some((paths, bytes)) = self.keep(totals.map_err(|error| format!("{DATABASE}: {error}"))) {
            nixos.store_paths = Some(paths);
            nixos.nar_bytes = Some(bytes);
        }
    }
}
