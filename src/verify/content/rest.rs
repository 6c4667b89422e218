//! What lies beside the store: read as far as its metadata go, and summed up.

use super::findings::Findings;
use super::manifest::Manifest;
use super::{Error, How, Part, gone};
use crate::format::ext4_read::{Ext4, Found, Kind};
use std::collections::BTreeMap;

/// The most places that files are counted for.
const MAX_AREAS: usize = 200;
/// Files that nixflash writes or that others look at, and directories of such.
const KNOWN: [&str; 5] = ["etc/NIXOS", "nix-path-registration", "nix/var/nix/db", "nix/var/nixflash", "boot"];

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
    for found in ext4.walk(&root).passing_over(store) {
        how.interrupted()?;
        match found {
            Ok(found) => take(&found, manifest, &mut areas, findings),
            Err(error) => findings.bad("/", &gone(error)?.to_string()),
        }
    }
    for (area, count) in areas {
        let files = if count == 1 { "1 file was".to_owned() } else { format!("{count} files were") };
        findings.since(format!("{files} added in /{area}"));
    }
    Ok(())
}

fn take(found: &Found, manifest: &Manifest, areas: &mut BTreeMap<String, u64>, findings: &mut Findings) {
    let path = String::from_utf8_lossy(&found.path);
    let (inode, shown) = (&found.inode, format!("/{path}"));
    if inode.kind == Kind::File && inode.mode & 0o6000 != 0 {
        findings.since(format!("{shown} is setuid or setgid: mode {:04o}, owner {}", inode.mode, inode.uid));
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

fn is_known(path: &str) -> bool {
    let below =
        |known: &str| path == known || path.strip_prefix(known).is_some_and(|rest| rest.starts_with('/'));
    KNOWN.iter().any(|known| below(known))
        || below("nix/var/nix/profiles")
        || path == "nix/var/nix/gcroots/profiles"
}

/// Whether nixflash embedded it; its contents are compared elsewhere.
fn is_configuration(path: &str, manifest: &Manifest) -> bool {
    manifest.at(&["configuration"]).is_some() && path.starts_with("etc/nixos/")
}
