//! Links and files that decide which system is started and what Nix believes, and who may write them.

use super::registry::{DATABASE, Registry};
use super::systems::{PROFILES, Systems, link};
use crate::format::disk::ext4::read::{Ext4, Kind};
use crate::format::nix::store_path::StorePath;
use crate::verify::card::findings::{Findings, Unsigned};
use crate::verify::card::manifest::Manifest;
use crate::verify::card::part::Part;

const GCROOTS: &str = "/nix/var/nix/gcroots/profiles";
const SCHEMA: &str = "/nix/var/nix/db/schema";
/// Directories that only root may write to.
const DIRECTORIES: [&str; 9] = [
    "/",
    "/boot",
    "/etc",
    "/nix",
    "/nix/var",
    "/nix/var/nix",
    "/nix/var/nix/db",
    "/nix/var/nix/profiles",
    "/nix/var/nixflash",
];

/// Checks the system profile, what keeps its generations, and the owners of all that.
pub fn check(
    ext4: &Ext4<Part<'_>>,
    registry: &Registry,
    manifest: &Manifest,
    systems: &Systems,
    findings: &mut Findings,
) {
    let composed = manifest.generations();
    for (number, toplevel) in &composed {
        match systems.links.get(number) {
            Some(found) if found != toplevel => findings.bad(
                &format!("{PROFILES}/system-{number}-link"),
                &format!("it leads to {found}, which is not what was composed"),
            ),
            Some(_) => {}
            None => findings.since(format!("generation {number}, which was composed, was removed")),
        }
    }
    let own = composed.keys().last().copied().unwrap_or(1);
    current(ext4, registry, (systems, own), findings);
    for (number, target) in systems.links.iter().filter(|(number, _)| !composed.contains_key(*number)) {
        findings.since(format!("generation {number} was added: {target}"));
    }
    if manifest.is_ours() {
        match link(ext4, GCROOTS) {
            Some(target) if target == PROFILES => {}
            _ => findings.bad(GCROOTS, &format!("it is no link to {PROFILES}: garbage collection takes all")),
        }
        match ext4.read_file(SCHEMA, 64) {
            Ok(text) if text.trim_ascii() == b"10" => {}
            Ok(_) => findings.bad(SCHEMA, "it does not say 10"),
            Err(error) => findings.bad(SCHEMA, &error.to_string()),
        }
        // A root in memory has its own, made anew by each boot.
        if ext4.mount_point().is_empty()
            && !ext4.lookup(b"/etc/NIXOS").is_ok_and(|inode| inode.kind == Kind::File)
        {
            findings.bad("/etc/NIXOS", "it is missing: nixos-rebuild takes this for no NixOS");
        }
    }
    fixed_init(ext4, findings);
    owners(ext4, findings);
}

/// What kernels start that are given no `init=` of the store.
fn fixed_init(ext4: &Ext4<Part<'_>>, findings: &mut Findings) {
    let path = "/sbin/init";
    if ext4.lookup(path.as_bytes()).is_err() {
        return;
    }
    let target = link(ext4, path);
    if target.as_deref() != Some("/nix/var/nix/profiles/system/init") {
        let target = target.unwrap_or_else(|| "no symlink".to_owned());
        findings.uncovered(path, &format!("it is {target}, and not the init of the system profile"));
    }
}

/// What is started next; `own` is the generation that was composed to be.
fn current(
    ext4: &Ext4<Part<'_>>,
    registry: &Registry,
    (systems, own): (&Systems, u32),
    findings: &mut Findings,
) {
    let path = format!("{PROFILES}/system");
    let Some(target) = link(ext4, &path) else {
        return findings.bad(&path, "it is no link to a system");
    };
    let name = target.strip_prefix(&format!("{PROFILES}/")).unwrap_or(&target);
    let number = name.strip_prefix("system-").and_then(|rest| rest.strip_suffix("-link"));
    if let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) {
        match systems.links.get(&number) {
            Some(toplevel) if number != own => {
                let how = format!("its system is generation {number} now: {toplevel}");
                systems.tell_default(&path, number, &how, findings);
            }
            Some(_) => {}
            None => findings.bad(&path, &format!("it leads to {target}, which leads to no system")),
        }
        return;
    }
    if StorePath::from_absolute(&target).is_ok_and(|target| registry.has(&target)) {
        let how = format!("its system is {target} now, which is no generation");
        match (
            StorePath::from_absolute(&target).is_ok_and(|target| registry.covers(&target)),
            findings.unsigned.generations,
        ) {
            (false, Unsigned::Refused) if findings.has_keys => findings.uncovered(&path, &how),
            _ => findings.since(how),
        }
    } else {
        findings.bad(&path, &format!("it leads to {target}, which is no generation"));
    }
}

/// Who may change what decides all else.
fn owners(ext4: &Ext4<Part<'_>>, findings: &mut Findings) {
    let files = [DATABASE, SCHEMA, crate::verify::card::manifest::ROOT, "/etc/NIXOS"];
    for path in DIRECTORIES.iter().chain(&files) {
        let Ok(inode) = ext4.lookup(path.as_bytes()) else { continue };
        if inode.uid != 0 {
            findings.bad(path, &format!("it is owned by user {}, expected 0", inode.uid));
        }
        if inode.mode & 0o022 != 0 || inode.mode & 0o6000 != 0 {
            findings.bad(path, &format!("its mode is {:04o}: not only root may write it", inode.mode));
        }
        if inode.is_locked() {
            findings.bad(path, "it is immutable or append-only");
        }
    }
}
