//! systemd-boot's files on the EFI system partition.
//!
//! Names and contents are those of NixOS's `systemd-boot-builder.py`; the boot loader itself is in every closure.

use crate::compose::Error;
use crate::compose::files::{Files, Literals};
use crate::compose::forest::Forest;
use crate::compose::toplevel::Toplevel;
use crate::format::bootspec::BootSpec;
use crate::format::store_path::StorePath;
use crate::format::systemd_boot::{Entry, LoaderConf};

/// What NixOS waits in the boot menu when nothing else is configured.
const TIMEOUT_SECONDS: u32 = 5;

/// Adds the boot loader, kernels, initrds, entries and `loader.conf`.
pub fn add(
    toplevel: &Toplevel,
    forest: &Forest,
    epoch: u32,
    files: &mut Files,
    literals: &mut Literals,
) -> Result<(), Error> {
    let (binary, fallback) = match toplevel.system.as_str() {
        "x86_64-linux" => ("systemd-bootx64.efi", "BOOTX64.EFI"),
        _ => ("systemd-bootaa64.efi", "BOOTAA64.EFI"),
    };
    let loader = format!("{}/systemd/lib/systemd/boot/efi/{binary}", toplevel.path);
    let found = forest.resolve(&loader).ok_or_else(|| missing(toplevel, &loader))?;
    files.copy(&format!("/EFI/BOOT/{fallback}"), found.node)?;
    files.copy(&format!("/EFI/systemd/{binary}"), found.node)?;
    let mut builder = Builder { toplevel, forest, epoch, files, literals };
    let default = builder.entry(None, &toplevel.boot)?;
    for (name, spec) in &toplevel.specialisations {
        builder.entry(Some(name), spec)?;
    }
    let conf = LoaderConf { timeout_seconds: Some(TIMEOUT_SECONDS), default };
    files.literal("/loader/loader.conf", conf.render().as_bytes(), literals)?;
    files.literal("/loader/entries.srel", b"type1\n", literals)
}

fn missing(toplevel: &Toplevel, path: &str) -> Error {
    Error::Toplevel { path: toplevel.path.to_string(), message: format!("{path} is not in the closure") }
}

struct Builder<'a> {
    toplevel: &'a Toplevel,
    forest: &'a Forest,
    epoch: u32,
    files: &'a mut Files,
    literals: &'a mut Literals,
}

impl Builder<'_> {
    /// Adds the entry of a system or one of its specialisations and gives its file name.
    fn entry(&mut self, specialisation: Option<&str>, spec: &BootSpec) -> Result<String, Error> {
        let linux = self.copy(&spec.kernel)?;
        let initrd = spec.initrd.as_ref().map(|path| self.copy(path)).transpose()?;
        let entry = Entry {
            generation: 1,
            specialisation: specialisation.map(str::to_owned),
            label: spec.label.clone(),
            built: self.epoch,
            linux,
            initrd,
            init: spec.init.clone(),
            kernel_params: spec.kernel_params.clone(),
        };
        let name = entry.file_name();
        self.files.literal(&format!("/loader/entries/{name}"), entry.render().as_bytes(), self.literals)?;
        Ok(name)
    }

    /// Copies a file of the store into `/EFI/nixos`, once, and gives its path on the partition.
    fn copy(&mut self, path: &str) -> Result<String, Error> {
        let found = self.forest.resolve(path).ok_or_else(|| missing(self.toplevel, path))?;
        let (store_path, rest) = StorePath::split(&found.path).map_err(|_| missing(self.toplevel, path))?;
        let base = rest.rsplit('/').next().unwrap_or_default();
        let name = if base.is_empty() || base == store_path.base_name() {
            format!("{}.efi", store_path.base_name())
        } else {
            format!("{}-{base}.efi", store_path.base_name())
        };
        let target = format!("/EFI/nixos/{name}");
        if self.files.get(&target).is_none() {
            self.files.copy(&target, found.node)?;
        }
        Ok(target)
    }
}
