//! What lies beside the store: read as far as its metadata go, and summed up.

use super::error::Error;
use super::findings::Findings;
use super::manifest::Manifest;
use super::part::{How, Part, gone};
use super::place::boot_directories;
use crate::format::disk::ext4::read::{Ext4, Found, Kind};
use serde_json::Value;
use std::collections::BTreeMap;

/// The most places that files are counted for.
const MAX_AREAS: usize = 200;
/// Files that nixflash writes, most of which others look at.
const KNOWN: [&str; 7] = [
    "etc/NIXOS",
    "nix-path-registration",
    "nix/var/nix/db/db.sqlite",
    "nix/var/nix/db/schema",
    "nix/var/nix/gcroots/profiles",
    "nix/var/nixflash/manifest.json",
    "nix/var/nixflash/manifest.json.minisig",
];

/// The same for systems with an overlay on `/etc`, and with a fixed name for their init.
const RARE: [&str; 2] = [".rw-etc/upper/NIXOS", "sbin/init"];
/// Where the links of the system profile are.
const PROFILES: &str = "nix/var/nix/profiles/";

/// Reads every directory and inode outside of the store.
pub fn check(
    ext4: &Ext4<Part<'_>>,
    manifest: &Manifest,
    how: &How<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let root = match ext4.root() {
        Ok(root) => root,
        Err(error) => {
            findings.bad("/", &gone(error)?.to_string());
            return Ok(());
        }
    };
    let mut areas = BTreeMap::new();
    let store = ext4.lookup(b"/nix/store").map_or(0, |store| store.number);
    let (top, boot) = (ext4.mount_point(), boot_directories(ext4));
    for found in ext4.walk(&root).passing_over(store).checked(root.number) {
        how.interrupted()?;
        match found {
            Ok(found) if looked_for(&found.path) => {
                let path = format!("/{}", String::from_utf8_lossy(&found.path));
                findings.bad(
                    &path,
                    "it was added, where boot loaders look for scripts, entries and environments",
                );
            }
            // As a boot loader sees it: what is there is compared elsewhere.
            Ok(found) if found.inode.mode & 0o6000 == 0 && is_below(&found.path, boot) => {}
            Ok(found) => {
                let path = below(&top, &found.path);
                take(&Found { path, ..found }, manifest, &mut areas, findings);
            }
            Err(error) => findings.bad("/", &gone(error)?.to_string()),
        }
    }
    if !areas.is_empty() {
        findings.unjudged(
            "the contents of files beside /nix/store and /boot: state, which nobody signs".to_owned(),
        );
    }
    for (area, count) in areas {
        let files = if count == 1 { "1 file was".to_owned() } else { format!("{count} files were") };
        findings.since(format!("{files} added in /{area}"));
    }
    Ok(())
}

/// A path as a system sees it, without a slash at its beginning.
fn below(top: &str, path: &[u8]) -> Vec<u8> {
    match top.strip_prefix('/') {
        Some(top) => [top.as_bytes(), b"/", path].concat(),
        None => path.to_vec(),
    }
}

fn take(found: &Found, manifest: &Manifest, areas: &mut BTreeMap<String, u64>, findings: &mut Findings) {
    let path = String::from_utf8_lossy(&found.path);
    let (inode, shown) = (&found.inode, format!("/{path}"));
    if inode.kind == Kind::File && inode.mode & 0o6000 != 0 {
        let how = format!("it is setuid or setgid: mode {:04o}, owner {}", inode.mode, inode.uid);
        findings.uncovered(&shown, &how);
    }
    if path == "nix-path-registration" && inode.size > 0 {
        findings.uncovered(&shown, "it is not empty: the next boot would take from it what the store has");
    }
    if inode.kind == Kind::Directory || is_known(&path) || is_configuration(&path, manifest) {
        return;
    }
    // Two names tell enough: var/log, etc/ssh.
    let area: Vec<&str> = path.split('/').collect();
    let area = area[..area.len().saturating_sub(1).min(2)].join("/");
    if areas.len() < MAX_AREAS || areas.contains_key(&area) {
        *areas.entry(area).or_default() += 1;
    }
}

/// Whether a boot loader looks for a path of the root: U-Boot's distro_bootcmd and bootstd (2025.01,
/// `include/config_distro_bootcmd.h`, `boot/bootmeth_*.c`), its environment on ext4, and kernels that are told no init.
fn looked_for(path: &[u8]) -> bool {
    const NAMES: [&[u8]; 15] = [
        b"boot.scr",
        b"boot.scr.uimg",
        b"boot.cmd",
        b"uboot.env",
        b"uenv.txt",
        b"extlinux.conf",
        b"syslinux.cfg",
        b"efi",
        b"loader",
        b"dtb",
        b"dtbs",
        b"cbfs",
        b"vbe",
        b"config.txt",
        b"cmdline.txt",
    ];
    const INITS: [&[u8]; 4] = [b"etc/init", b"bin/init", b"init", b"linuxrc"];
    let lower = path.to_ascii_lowercase();
    NAMES.contains(&&lower[..]) || INITS.contains(&path)
}

fn is_known(path: &str) -> bool {
    KNOWN.contains(&path) || RARE.contains(&path) || path.strip_prefix(PROFILES).is_some_and(is_generation)
}

fn is_below(path: &[u8], directories: &[&str]) -> bool {
    let first = path.split(|byte| *byte == b'/').next();
    first.is_some_and(|first| directories.iter().any(|directory| directory.as_bytes() == first))
}

/// Whether it is one of the links that are compared elsewhere.
fn is_generation(name: &str) -> bool {
    let number = name.strip_prefix("system-").and_then(|rest| rest.strip_suffix("-link"));
    name == "system" || number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Whether nixflash embedded it; its contents are compared elsewhere.
fn is_configuration(path: &str, manifest: &Manifest) -> bool {
    let base = manifest.at(&["configuration", "path"]).and_then(Value::as_str);
    let base = base.map(|base| base.trim_matches('/')).filter(|base| !base.is_empty());
    base.is_some_and(|base| path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/')))
}
