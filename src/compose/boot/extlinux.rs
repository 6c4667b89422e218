//! U-Boot's extlinux files, below `/boot` on the root.
//!
//! The names are those of NixOS's `extlinux-conf-builder.sh`: the store path without `/nix/store/`, slashes as dashes.

use crate::compose::files::{Files, Literals};
use crate::compose::forest::Forest;
use crate::compose::toplevel::Toplevel;
use crate::compose::{Content, Error};
use crate::format::bootspec::BootSpec;
use crate::format::extlinux::{Config, DeviceTree, Entry};
use crate::format::store_path::STORE_DIR;
use crate::tree::Node;

/// What NixOS waits in the boot menu when nothing else is configured.
const TIMEOUT_SECONDS: u32 = 5;

/// Adds kernels, initrds, device trees and `extlinux.conf`.
pub fn add(
    toplevel: &Toplevel,
    forest: &Forest,
    epoch: u32,
    files: &mut Files,
    literals: &mut Literals,
) -> Result<(), Error> {
    let mut builder = Builder { forest, files };
    let default = builder.entry(toplevel, &toplevel.boot)?;
    let mut specialisations = Vec::new();
    for (name, spec) in &toplevel.specialisations {
        specialisations.push((name.clone(), builder.entry(toplevel, spec)?));
    }
    let config = Config {
        timeout_seconds: Some(TIMEOUT_SECONDS),
        default,
        generation: 1,
        built: epoch,
        version: toplevel.version.clone(),
        specialisations,
    };
    files.literal("/boot/extlinux/extlinux.conf", config.render().as_bytes(), literals)
}

struct Builder<'a, 'b> {
    forest: &'a Forest,
    files: &'b mut Files,
}

impl Builder<'_, '_> {
    fn entry(&mut self, toplevel: &Toplevel, spec: &BootSpec) -> Result<Entry, Error> {
        let kernel = self.copy(toplevel, &spec.kernel)?;
        let initrd = spec.initrd.as_ref().map(|path| self.copy(toplevel, path)).transpose()?;
        let device_trees = format!("{}/dtbs", spec.toplevel);
        let device_tree = match self.forest.resolve(&device_trees) {
            Some(_) => Some(DeviceTree::Directory(self.copy(toplevel, &device_trees)?)),
            None => None,
        };
        Ok(Entry {
            kernel,
            initrd,
            init: spec.init.clone(),
            kernel_params: spec.kernel_params.clone(),
            device_tree,
        })
    }

    /// Copies what a path leads to into `/boot/nixos`, once, and gives its name there.
    fn copy(&mut self, toplevel: &Toplevel, path: &str) -> Result<String, Error> {
        let missing = || Error::Toplevel {
            path: toplevel.path.to_string(),
            message: format!("{path} is not in the closure"),
        };
        let found = self.forest.resolve(path).ok_or_else(missing)?;
        let name = flat(&found.path);
        let target = format!("/boot/nixos/{name}");
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
