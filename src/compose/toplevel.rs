//! What a built system says of itself.

use super::{Error, forest::Forest};
use crate::format::bootspec::BootSpec;
use crate::format::fstab::{self, Entry};
use crate::format::store_path::StorePath;

/// A built NixOS system.
pub struct Toplevel {
    /// Its store path.
    pub path: StorePath,
    /// Its platform: `aarch64-linux`.
    pub system: String,
    /// The label of the version: `25.11.20251120.abcdef`.
    pub version: String,
    /// Kernel, initrd, init, parameters.
    pub boot: BootSpec,
    /// Names and boot specifications of its specialisations, sorted.
    pub specialisations: Vec<(String, BootSpec)>,
    /// `etc/fstab`, parsed.
    pub fstab: Vec<Entry>,
    /// Whether it wants `/nix-path-registration`, which makes it grow its root on the first boot.
    pub wants_registration: bool,
}

impl Toplevel {
    /// Reads a toplevel out of its closure.
    pub fn read(forest: &Forest, path: &StorePath) -> Result<Self, Error> {
        let wrong = |file: &str, message: String| Error::Toplevel { path: format!("{path}{file}"), message };
        let text = |file: &str| forest.read_text(&format!("{path}{file}"));
        let need = |file: &str| {
            let missing = || wrong("", format!("is not a NixOS system: it has no {}", &file[1..]));
            text(file)?.ok_or_else(missing)
        };
        let system = need("/system")?;
        let version = need("/nixos-version")?;
        need("/init")
            .map(drop)
            .or_else(|e| if forest.resolve(&format!("{path}/init")).is_some() { Ok(()) } else { Err(e) })?;
        let (boot, specialisations) = match text("/boot.json")? {
            Some(json) => boot_json(&json).map_err(|message| wrong("/boot.json", message))?,
            None => (synthesize(forest, path, &system, &version)?, Vec::new()),
        };
        for (what, file) in [("kernel", Some(&boot.kernel)), ("initrd", boot.initrd.as_ref())] {
            if let Some(file) = file.filter(|file| forest.resolve(file).is_none()) {
                return Err(wrong("/boot.json", format!("its {what} {file} is not in the closure")));
            }
        }
        if let Some(secrets) = boot.initrd_secrets.as_ref() {
            let message = format!(
                "its initrd takes secrets from the machine that installs it ({secrets}); nixflash runs no program of the system"
            );
            return Err(wrong("", message));
        }
        let fstab = match text("/etc/fstab")? {
            Some(text) => fstab::parse(&text).map_err(|e| wrong("/etc/fstab", e.to_string()))?,
            None => Vec::new(),
        };
        let unit = format!("{path}/etc/systemd/system/register-nix-paths.service");
        let wants_registration = forest.resolve(&unit).is_some();
        Ok(Self { path: path.clone(), system, version, boot, specialisations, fstab, wants_registration })
    }
}

fn boot_json(json: &str) -> Result<(BootSpec, Vec<(String, BootSpec)>), String> {
    let document = crate::format::bootspec::parse(json.as_bytes()).map_err(|e| e.to_string())?;
    let specialisations =
        document.specialisations.into_iter().map(|(name, inner)| (name, inner.spec)).collect();
    Ok((document.spec, specialisations))
}

/// What `boot.json` would say, for a system older than bootspec.
fn synthesize(forest: &Forest, path: &StorePath, system: &str, version: &str) -> Result<BootSpec, Error> {
    let wrong = |message: &str| Error::Toplevel { path: path.to_string(), message: message.to_owned() };
    let resolved = |file: &str| forest.resolve(&format!("{path}{file}")).map(|found| found.path);
    let kernel = resolved("/kernel")
        .ok_or_else(|| wrong("is not a NixOS system: it has neither boot.json nor kernel"))?;
    let params =
        forest.read_text(&format!("{path}/kernel-params"))?.ok_or_else(|| wrong("has no kernel-params"))?;
    Ok(BootSpec {
        system: system.to_owned(),
        label: format!("NixOS {version}"),
        toplevel: path.to_string(),
        init: format!("{path}/init"),
        kernel,
        kernel_params: params.split_ascii_whitespace().map(str::to_owned).collect(),
        initrd: resolved("/initrd"),
        initrd_secrets: None,
    })
}
