//! Kernels that the firmware of a Raspberry Pi starts by itself: a directory for each generation on its FAT.
//!
//! The layout is that of nixos-raspberrypi's `nixos-generations-builder.sh` and `kernelboot-gen-builder.sh`:
//! `config.txt` says `os_prefix=nixos/default/`, and everything that is started lies below that.

use crate::compose::closure::Forest;
use crate::compose::error::Error;
use crate::compose::installer::{DeviceTrees, RaspberryPi};
use crate::compose::literals::Literals;
use crate::compose::root::files::Files;
use crate::compose::system::toplevel::Toplevel;
use crate::ints;
use crate::tree::{Kind, Node};

/// Adds the default and the generations that are kept.
pub fn add(
    generations: &[Toplevel],
    installer: &RaspberryPi,
    forest: &Forest,
    files: &mut Files,
    literals: &mut Literals,
) -> Result<(), Error> {
    let Some(newest) = generations.last() else { return Ok(()) };
    let mut builder = Builder { forest, device_trees: installer.device_trees.clone(), files, literals };
    let top = format!("/{}", installer.directory);
    builder.system(&format!("{top}/default"), newest, &newest.path.to_string())?;
    let kept = ints::to_usize(u64::from(installer.generations));
    for (at, system) in generations.iter().enumerate().rev().take(kept) {
        let number = at + 1;
        let link = crate::card::paths::generation(number);
        builder.system(&format!("{top}/{number}-default"), system, &link)?;
        for (name, special) in &system.specialisations {
            let link = format!("{link}/specialisation/{name}");
            builder.system(&format!("{top}/{number}-{name}"), special, &link)?;
        }
    }
    Ok(())
}

struct Builder<'a> {
    forest: &'a Forest,
    device_trees: DeviceTrees,
    files: &'a mut Files,
    literals: &'a mut Literals,
}

impl Builder<'_> {
    /// One directory; `path` is the name by which the system is started.
    fn system(&mut self, directory: &str, system: &Toplevel, path: &str) -> Result<(), Error> {
        let missing = |path: &str| Error::Toplevel {
            path: system.path.to_string(),
            message: format!("{path} is not in the closure"),
        };
        let boot = &system.boot;
        let kernel = self.forest.resolve(&boot.kernel).ok_or_else(|| missing(&boot.kernel))?;
        self.files.copy(&format!("{directory}/kernel.img"), kernel.node)?;
        if let Some(initrd) = &boot.initrd {
            let initrd = self.forest.resolve(initrd).ok_or_else(|| missing(initrd))?;
            self.files.copy(&format!("{directory}/initrd"), initrd.node)?;
        }
        for (name, text) in [
            ("cmdline.txt", format!("{} init={path}/init\n", system.kernel_params)),
            ("system-link", format!("{}\n", system.path)),
            ("kernel-link", format!("{}\n", kernel.path)),
        ] {
            self.files.literal(&format!("{directory}/{name}"), text.as_bytes(), self.literals)?;
        }
        let dtbs = match &self.device_trees {
            DeviceTrees::Kernel => format!("{}/dtbs", system.path),
            DeviceTrees::Firmware(directory) => directory.clone(),
        };
        for (from, to, suffix) in
            // Of two device trees with one name the builder leaves the one of the subdirectory.
            [("/broadcom", "", ".dtb"), ("", "", ".dtb"), ("/overlays", "/overlays", "")]
        {
            let Some(found) = self.forest.resolve(&format!("{dtbs}{from}")) else { continue };
            self.files_of((&found.path, found.node), &format!("{directory}{to}"), suffix)?;
        }
        self.files.directory(&format!("{directory}/overlays"))
    }

    /// Copies the files of a directory whose names have an ending; of two with one name the first.
    fn files_of(
        &mut self,
        (path, node): (&str, &Node<crate::compose::content::Content>),
        to: &str,
        suffix: &str,
    ) -> Result<(), Error> {
        let Kind::Directory(directory) = &node.kind else { return Ok(()) };
        for (name, child) in directory.iter() {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            let target = format!("{to}/{name}");
            if !name.ends_with(suffix) || self.files.get(&target).is_some() {
                continue;
            }
            // A device tree may be a link to that of another model; the builder copies what it leads to.
            let file = match &child.kind {
                Kind::Symlink(_) => self.forest.resolve(&format!("{path}/{name}")).map(|found| found.node),
                _ => Some(child),
            };
            if let Some(file) = file.filter(|file| matches!(file.kind, Kind::File { .. })) {
                self.files.copy(&target, file)?;
            }
        }
        Ok(())
    }
}
