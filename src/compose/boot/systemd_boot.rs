//! systemd-boot's files on the EFI system partition.
//!
//! Names and contents are those of NixOS's `systemd-boot-builder.py`, in the form of the one that the system has; the
//! boot loader itself is in every closure.

use crate::compose::closure::Forest;
use crate::compose::error::Error;
use crate::compose::installer::{Naming, SystemdBoot};
use crate::compose::literals::Literals;
use crate::compose::root::files::Files;
use crate::compose::system::toplevel::Toplevel;
use crate::format::boot::systemd_boot::{Entry, Extra, LoaderConf};
use crate::format::nix::store_path::StorePath;
use crate::ints;

/// Adds the boot loader, kernels, initrds, entries and `loader.conf`.
pub fn add(
    generations: &[Toplevel],
    installer: &SystemdBoot,
    (forest, epoch): (&Forest, u32),
    files: &mut Files,
    literals: &mut Literals,
) -> Result<(), Error> {
    let Some(newest) = generations.last() else { return Ok(()) };
    let (binary, fallback) = match newest.system.as_str() {
        "x86_64-linux" => ("systemd-bootx64.efi", "BOOTX64.EFI"),
        _ => ("systemd-bootaa64.efi", "BOOTAA64.EFI"),
    };
    let loader = format!("{}/systemd/lib/systemd/boot/efi/{binary}", newest.path);
    let found = forest.resolve(&loader).ok_or_else(|| missing(newest, &loader))?;
    files.copy(&format!("/EFI/BOOT/{fallback}"), found.node)?;
    files.copy(&format!("/EFI/systemd/{binary}"), found.node)?;
    let mut builder = Builder { installer, forest, epoch, files, literals };
    let mut default = String::new();
    let first = generations.len().saturating_sub(ints::to_usize(u64::from(installer.generations)));
    for (number, system) in (1u32..).zip(generations).skip(first) {
        default = builder.entry(number, None, system)?;
        for (name, special) in &system.specialisations {
            builder.entry(number, Some(name), special)?;
        }
    }
    let conf = LoaderConf {
        timeout: installer.timeout.clone(),
        default,
        counts_boots: installer.tries.is_some(),
        extra: installer.extra.clone(),
        console_mode: installer.console_mode.clone(),
    };
    // The builder makes it each time.
    files.directory(&format!("/{}/.extra-files", installer.directory))?;
    files.literal("/loader/loader.conf", conf.render().as_bytes(), literals)?;
    files.literal("/loader/entries.srel", b"type1\n", literals)
}

fn missing(system: &Toplevel, path: &str) -> Error {
    Error::Toplevel { path: system.path.to_string(), message: format!("{path} is not in the closure") }
}

struct Builder<'a> {
    installer: &'a SystemdBoot,
    forest: &'a Forest,
    epoch: u32,
    files: &'a mut Files,
    literals: &'a mut Literals,
}

impl Builder<'_> {
    /// Adds the entry of a generation or one of its specialisations and gives its identifier.
    fn entry(&mut self, number: u32, special: Option<&str>, system: &Toplevel) -> Result<String, Error> {
        let boot = &system.boot;
        let linux = self.copy(system, &boot.kernel)?;
        let initrd = boot.initrd.as_ref().map(|path| self.copy(system, path)).transpose()?;
        let device_tree = system.device_tree.as_ref().filter(|_| self.installer.device_trees);
        let device_tree = device_tree.map(|path| self.copy(system, path)).transpose()?;
        let entry = Entry {
            distribution: self.installer.distribution.clone(),
            generation: number,
            specialisation: special.map(str::to_owned),
            label: boot.label.clone(),
            built: self.epoch,
            linux,
            initrd,
            init: boot.init.clone(),
            kernel_params: boot.kernel_params.clone(),
        };
        let extra = Extra {
            device_tree: device_tree.as_deref(),
            sort_key: if self.installer.sort_key { &system.sort_key } else { "" },
        };
        let form = self.installer.form;
        let id = entry.id(form, extra);
        let file = match self.installer.tries {
            Some(tries) => format!("{}+{tries}.conf", id.trim_end_matches(".conf")),
            None => id.clone(),
        };
        let text = entry.render(form, extra);
        self.files.literal(&format!("/loader/entries/{file}"), text.as_bytes(), self.literals)?;
        Ok(id)
    }

    /// Copies a file of the store beside the other kernels, once, and gives its path on the partition.
    fn copy(&mut self, system: &Toplevel, path: &str) -> Result<String, Error> {
        let found = self.forest.resolve(path).ok_or_else(|| missing(system, path))?;
        let name = name(&found.path, self.installer.naming).ok_or_else(|| missing(system, path))?;
        let target = format!("/{}/{name}", self.installer.directory);
        if self.files.get(&target).is_none() {
            self.files.copy(&target, found.node)?;
        }
        Ok(target)
    }
}

/// The name of a copy.
fn name(path: &str, naming: Naming) -> Option<String> {
    let (store_path, _) = StorePath::split(path).ok()?;
    let mut parts = path.rsplit('/');
    let (base, directory) = (parts.next()?, parts.next()?);
    Some(match naming {
        Naming::StorePath if base == store_path.base_name() => format!("{base}.efi"),
        Naming::StorePath => format!("{}-{base}.efi", store_path.base_name()),
        Naming::Directory => format!("{directory}-{base}.efi"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_named_as_each_builder_does() {
        let store = "/nix/store/00000000000000000000000000000000-k";
        for (path, old, new) in [
            (
                "/Image",
                "00000000000000000000000000000000-k-Image.efi",
                "00000000000000000000000000000000-k-Image.efi",
            ),
            ("/dtbs/a.dtb", "dtbs-a.dtb.efi", "00000000000000000000000000000000-k-a.dtb.efi"),
            ("", "store-00000000000000000000000000000000-k.efi", "00000000000000000000000000000000-k.efi"),
        ] {
            let path = format!("{store}{path}");
            assert_eq!(name(&path, Naming::Directory).as_deref(), Some(old));
            assert_eq!(name(&path, Naming::StorePath).as_deref(), Some(new));
        }
    }
}
