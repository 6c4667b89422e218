//! What makes a system grow its root to the size of the card on the first boot, and what it waits for.
//!
//! Sources: nixpkgs `installer/sd-card/sd-image.nix` (commands after the boot since 20.09, units since 26.05),
//! `system/boot/grow-partition.nix`, `system/boot/systemd/repart.nix`; raspberry-pi-nix and nixos-raspberrypi build on the
//! first. A unit that only registers store paths grows nothing, and neither does `x-systemd.growfs` alone: it makes a file
//! system as large as a partition, which nobody has made larger.

use crate::compose::closure::Forest;
use crate::format::boot::fstab::Entry;
use crate::format::nix::store_path::StorePath;

/// The file that starts the growth and the registration of store paths.
pub const REGISTRATION: &str = "/nix-path-registration";

/// What a system brings for its first boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstBoot {
    /// Whether a unit or stage 2 looks for `/nix-path-registration`.
    pub wants_registration: bool,
    /// Whether it makes its partition and its file system as large as the card.
    pub grows_root: bool,
}

/// Reads what a system brings.
pub fn read(forest: &Forest, path: &StorePath, fstab: &[Entry], has_growpart: bool) -> FirstBoot {
    let is_there = |file: &str| forest.resolve(&format!("{path}{file}")).is_some();
    let unit = |name: &str| is_there(&format!("/etc/systemd/system/{name}.service"));
    let commands = commands(forest, path);
    let has = |word: &str| commands.iter().any(|text| text.contains(word));
    let in_stage_2 = has(REGISTRATION);
    let grows_fs = fstab.iter().any(|entry| {
        let is_root = ["/", "/nix"].contains(&entry.mount_point.as_str());
        is_root && (entry.has_option("x-systemd.growfs") || entry.has_option("x-nixos.autoresize"))
    });
    let grows_partition =
        unit("growpart") || has_growpart || !forest.names(&format!("{path}/etc/repart.d")).is_empty();
    FirstBoot {
        wants_registration: in_stage_2
            || ["register-nix-paths", "expand-root-partition"].into_iter().any(unit),
        grows_root: unit("expand-root-partition")
            || has("resize2fs") && ["sfdisk", "growpart", "parted", "sgdisk"].into_iter().any(has)
            || grows_fs && grows_partition,
    }
}

/// The texts that run before systemd: stage 2 itself, and the commands of the configuration that it names.
fn commands(forest: &Forest, path: &StorePath) -> Vec<String> {
    let text = |file: &str| {
        // What is large or no text is a program, and says nothing.
        let bytes = forest.read(file).ok().flatten()?;
        String::from_utf8(bytes).ok()
    };
    let mut texts: Vec<String> =
        ["/init", "/prepare-root"].iter().filter_map(|file| text(&format!("{path}{file}"))).collect();
    let mut named: Vec<String> = Vec::new();
    for word in texts.iter().flat_map(|text| text.split(|c: char| c.is_whitespace() || "\"'()".contains(c))) {
        if word.starts_with("/nix/store/")
            && word.ends_with("-local-cmds")
            && !named.iter().any(|name| name == word)
        {
            named.push(word.to_owned());
        }
    }
    texts.extend(named.iter().filter_map(|file| text(file)));
    texts
}
