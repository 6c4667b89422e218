//! Whether a system finds its card and knows its board: drivers, device trees.

use super::contract::Contract;
use super::finding::{Origin, Verdict};
use super::loading::Loading;
use super::mounts::is_memory;
use crate::board::{Board, matches};
use crate::compose::closure::Forest;
use crate::compose::system::toplevel::Toplevel;
use crate::tree::{Kind, Node};
use std::collections::BTreeSet;

impl Contract {
    /// Whether the initrd or the kernel has the drivers of a medium that the board boots from.
    pub(crate) fn drivers(&mut self, system: &Toplevel, board: &Board) {
        let initrd = match &system.initrd {
            Ok(initrd) => initrd,
            Err(why) => {
                let message = format!("its initrd cannot be read, so its drivers are not checked: {why}");
                self.warn(message, Some(Origin::file("initrd")));
                return;
            }
        };
        self.root_driver(system, &initrd.modules);
        if board.media.is_empty() || system.boot.initrd.is_none() {
            return;
        }
        let Some(builtin) = &system.builtin else {
            let message = "it does not list what is built into its kernel, so drivers are not checked";
            self.warn(message, Some(Origin::file("kernel-modules")));
            return;
        };
        let has = |driver: &str| initrd.modules.contains(driver) || builtin.iter().any(|name| name == driver);
        let lacks = |drivers: &[String]| -> Vec<String> {
            drivers
                .iter()
                .filter(|words| !words.split('|').any(has))
                .map(|words| words.replace('|', " or "))
                .collect()
        };
        let media: Vec<_> = board.media.iter().map(|medium| (&medium.name, lacks(&medium.drivers))).collect();
        let good: Vec<&str> =
            media.iter().filter(|(_, lacking)| lacking.is_empty()).map(|(name, _)| name.as_str()).collect();
        let bad: Vec<String> = media
            .iter()
            .filter(|(_, lacking)| !lacking.is_empty())
            .map(|(name, lacking)| format!("{name} needs {}", lacking.join(", ")))
            .collect();
        let without = format!("neither the initrd nor the kernel has every driver: {}", bad.join("; "));
        let origin = Origin::file("initrd");
        match (good.is_empty(), bad.is_empty()) {
            (true, _) => self.warn(without, Some(origin)),
            (false, true) => self.met(format!("it has drivers for {}", good.join(", ")), origin),
            (false, false) => {
                self.met(format!("it has drivers for {}; {}", good.join(", "), bad.join("; ")), origin)
            }
        }
    }

    /// Whether the ext4 can be mounted: its driver is in the initrd or the kernel.
    fn root_driver(&mut self, system: &Toplevel, modules: &BTreeSet<String>) {
        let Some(builtin) = system.builtin.as_ref().filter(|_| system.boot.initrd.is_some()) else { return };
        if modules.contains("ext4") || builtin.iter().any(|name| name == "ext4") {
            return;
        }
        let root = system.fstab.iter().find(|entry| entry.mount_point == "/" && !is_memory(entry));
        let message =
            "neither its initrd nor its kernel has the driver ext4, so that it cannot mount its root";
        let is_auto = root.is_some_and(|entry| entry.fs_type == "auto");
        // With the kind named NixOS puts the driver in; an initrd without it may have it under another name.
        let verdict = if is_auto { Verdict::Refused } else { Verdict::Warning };
        self.find(verdict, message, Some(Origin::file("initrd")));
    }

    /// Whether the system has the device tree of the board, where the boot loader looks for it there.
    pub(crate) fn device_trees(&mut self, system: &Toplevel, board: &Board, forest: &Forest) {
        let directory = forest.resolve(&format!("{}/dtbs", system.path)).map(|found| found.node);
        if let Loading::Extlinux(builders) = &self.loading {
            let named = builders.iter().find_map(|(flags, _)| flags.device_tree.clone());
            if let Some(name) = named {
                self.named(
                    &name,
                    directory.is_some_and(|tree| tree.at(name.split('/').map(str::as_bytes)).is_some()),
                );
                return;
            }
            if builders.iter().all(|(flags, _)| flags.no_device_tree) {
                return;
            }
        }
        let patterns: Vec<&String> = board.files.iter().flat_map(|rule| &rule.or_device_trees).collect();
        let Some(directory) = directory.filter(|_| !patterns.is_empty()) else { return };
        let names = files(directory);
        let found = names.iter().any(|name| patterns.iter().any(|p| matches(p.as_bytes(), name.as_bytes())));
        let patterns: Vec<&str> = patterns.into_iter().map(String::as_str).collect();
        if found {
            self.met("it has device trees of the board", Origin::file("dtbs"));
        } else {
            let message = format!(
                "it has no device tree of the board ({}); the kernel gets that of the firmware",
                patterns.join(", ")
            );
            self.warn(message, Some(Origin::file("dtbs")));
        }
    }

    /// `hardware.deviceTree.name`.
    fn named(&mut self, name: &str, is_there: bool) {
        let origin = Origin::words("the boot loader's builder", format!("-n {name}"));
        if is_there {
            self.met("it has the device tree that it names", origin);
        } else {
            self.refuse(
                "its dtbs have not the device tree that it names, and U-Boot starts nothing without",
                Some(origin),
            );
        }
    }
}

/// Paths of all files below a directory.
fn files<C>(tree: &Node<C>) -> Vec<String> {
    let files = tree.walk().filter(|(_, node)| matches!(node.kind, Kind::File { .. }));
    files.map(|(path, _)| String::from_utf8_lossy(&path).into_owned()).collect()
}
