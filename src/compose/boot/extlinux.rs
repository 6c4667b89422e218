//! U-Boot's extlinux files, in the directory that the system keeps them in: `/boot`, mostly.
//!
//! The names are those of NixOS's `extlinux-conf-builder.sh`: the store path without `/nix/store/`, slashes as dashes.

use crate::compose::closure::Forest;
use crate::compose::content::Content;
use crate::compose::error::Error;
use crate::compose::installer::Extlinux;
use crate::compose::literals::Literals;
use crate::compose::root::files::Files;
use crate::compose::system::toplevel::Toplevel;
use crate::format::boot::extlinux::{Config, DeviceTree, Entry, Generation, menu_order};
use crate::format::nix::store_path::STORE_DIR;
use crate::ints;
use crate::tree::Node;

/// Adds kernels, initrds, device trees and `extlinux.conf` below a directory.
pub fn add(
    generations: &[Toplevel],
    (flags, directory): (&Extlinux, &str),
    (forest, epoch): (&Forest, u32),
    files: &mut Files,
    literals: &mut Literals,
) -> Result<(), Error> {
    let Some(newest) = generations.last() else { return Ok(()) };
    let mut builder = Builder { forest, files, directory, flags, epoch };
    let default = builder.entry(newest)?;
    let mut menu = Vec::new();
    let shown = ints::to_usize(u64::from(flags.generations));
    for (at, system) in generations.iter().enumerate().rev().take(shown) {
        let number = at + 1;
        menu.push(builder.generation(format!("{number}-default"), system)?);
        let mut special: Vec<_> = system.specialisations.iter().collect();
        special.sort_by(|a, b| menu_order(&a.0, &b.0));
        for (name, system) in special {
            menu.push(builder.generation(format!("{number}-{name}"), system)?);
        }
    }
    let config = Config { timeout_seconds: flags.timeout, default, generations: menu };
    files.literal(&format!("{directory}/extlinux/extlinux.conf"), config.render().as_bytes(), literals)
}

struct Builder<'a> {
    forest: &'a Forest,
    files: &'a mut Files,
    directory: &'a str,
    flags: &'a Extlinux,
    epoch: u32,
}

impl Builder<'_> {
    fn generation(&mut self, tag: String, system: &Toplevel) -> Result<Generation, Error> {
        let entry = self.entry(system)?;
        Ok(Generation { tag, built: self.epoch, version: system.version.clone(), entry })
    }

    fn entry(&mut self, system: &Toplevel) -> Result<Entry, Error> {
        let kernel = self.copy(system, &system.boot.kernel)?;
        let initrd = system.boot.initrd.as_ref().map(|path| self.copy(system, path)).transpose()?;
        let path = format!("{}/dtbs", system.path);
        // The builder copies them even where the menu does not name them.
        let device_trees = match self.forest.resolve(&path) {
            Some(_) => Some(self.copy(system, &path)?),
            None => None,
        };
        let device_tree = device_trees.filter(|_| !self.flags.no_device_tree).map(|directory| {
            match &self.flags.device_tree {
                Some(name) => DeviceTree::File(format!("{directory}/{name}")),
                None => DeviceTree::Directory(directory),
            }
        });
        Ok(Entry {
            kernel,
            initrd,
            init: format!("{}/init", system.path),
            kernel_params: system.kernel_params.clone(),
            device_tree,
        })
    }

    /// Copies what a path leads to into `nixos`, once, and gives its name there.
    fn copy(&mut self, system: &Toplevel, path: &str) -> Result<String, Error> {
        let missing = || Error::Toplevel {
            path: system.path.to_string(),
            message: format!("{path} is not in the closure"),
        };
        let found = self.forest.resolve(path).ok_or_else(missing)?;
        let name = flat(&found.path);
        let target = format!("{}/nixos/{name}", self.directory);
        let node: &Node<Content> = found.node;
        if self.files.get(&target).is_none() {
            self.files.copy(&target, node)?;
        }
        Ok(name)
    }
}

/// A store path as one file name.
fn flat(path: &str) -> String {
    path.trim_start_matches(STORE_DIR).trim_start_matches('/').replace('/', "-")
}
