//! What a built system says of itself.

use super::growth;
use super::growth::FirstBoot;
use super::initrd;
use super::initrd::Initrd;
use super::secrets_appender;
use crate::compose::closure::Forest;
use crate::compose::error::Error;
use crate::compose::installer;
use crate::compose::installer::Installer;
use crate::format::boot::bootspec;
use crate::format::boot::bootspec::{BootSpec, Document, Older};
use crate::format::boot::fstab;
use crate::format::boot::fstab::Entry;
use crate::format::nix::store_path::StorePath;

/// The extension of boot.json that systems with a nixos-init have.
const NIXOS_INIT: &str = "org.nixos.nixos-init.v1";

/// The init that a system asks for by a fixed name; the root has it as a link to the system.
pub const FIXED_INIT: &str = "/sbin/init";

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
    /// The file `kernel-params`, as it is.
    pub kernel_params: String,
    /// The device tree that systemd-boot is to load.
    pub device_tree: Option<String>,
    /// The key by which systemd-boot sorts it.
    pub sort_key: String,
    /// Its specialisations, by name.
    pub specialisations: Vec<(String, Toplevel)>,
    /// `etc/fstab`, parsed.
    pub fstab: Vec<Entry>,
    /// What its initrd holds, or why that cannot be said.
    pub initrd: Result<Initrd, String>,
    /// What it installs its boot loader with.
    pub installer: Installer,
    /// Drivers that are part of the kernel; `None` where the system does not say.
    pub builtin: Option<Vec<String>>,
    /// Whether its initrd takes secrets from the machine that installs it.
    pub has_secrets: bool,
    /// Whether its `/etc` is an overlay that hides what the root has there.
    pub has_etc_overlay: bool,
    /// Whether nixos-init starts it.
    pub has_nixos_init: bool,
    /// What it brings for its first boot.
    pub first_boot: FirstBoot,
    /// Initrds on the boot partition that it wants loaded beside its own, as paths on that.
    pub extra_initrds: Vec<String>,
}

impl Toplevel {
    /// Reads a toplevel out of its closure, with its specialisations.
    pub fn read(forest: &Forest, path: &StorePath) -> Result<Self, Error> {
        let (mut toplevel, document) = Self::read_one(forest, path)?;
        let mut names = forest.names(&format!("{path}/specialisation"));
        names.extend(document.iter().flat_map(|document| document.specialisations.keys().cloned()));
        names.sort_unstable();
        names.dedup();
        for name in names {
            let link = format!("{path}/specialisation/{name}");
            let listed = document.as_ref().and_then(|document| document.specialisations.get(&name));
            let target = forest.resolve(&link).map(|found| found.path);
            let target = target.or_else(|| listed.map(|listed| listed.spec.toplevel.clone()));
            let missing = || Error::Toplevel {
                path: link.clone(),
                message: "its specialisation is not in the closure".to_owned(),
            };
            let target = target.ok_or_else(missing)?;
            let (target, rest) = StorePath::split(&target).map_err(|_| missing())?;
            if !rest.is_empty() {
                return Err(missing());
            }
            toplevel.specialisations.push((name, Self::read_one(forest, &target)?.0));
        }
        Ok(toplevel)
    }

    /// Whether what is written to `/etc` while the system runs goes elsewhere. Where the initrd cannot be read, maybe.
    pub fn has_writable_etc_overlay(&self) -> bool {
        self.has_etc_overlay && self.initrd.as_ref().map_or(true, |initrd| initrd.has_writable_etc)
    }

    /// Whether the kernel starts a fixed name rather than the system's own.
    pub fn has_fixed_init(&self) -> bool {
        let mut inits =
            self.kernel_params.split_ascii_whitespace().filter_map(|param| param.strip_prefix("init="));
        inits.next_back() == Some(FIXED_INIT)
    }

    fn read_one(forest: &Forest, path: &StorePath) -> Result<(Self, Option<Document>), Error> {
        let wrong = |file: &str, message: String| Error::Toplevel { path: format!("{path}{file}"), message };
        let text = |file: &str| forest.read_text(&format!("{path}{file}"));
        let is_there = |file: &str| forest.resolve(&format!("{path}{file}")).is_some();
        let missing = |file: &str| wrong("", format!("is not a NixOS system: it has no {}", &file[1..]));
        let need = |file: &str| text(file)?.ok_or_else(|| missing(file));
        let (system, version) = (need("/system")?, need("/nixos-version")?);
        if !is_there("/init") {
            return Err(missing("/init"));
        }
        let document = text("/boot.json")?.map(|json| bootspec::parse(json.as_bytes())).transpose();
        let document = document.map_err(|error| wrong("/boot.json", error.to_string()))?;
        let boot = match &document {
            Some(document) => document.spec.clone(),
            None => synthesize(forest, path, &system, &version)?,
        };
        for (what, file) in [("kernel", Some(&boot.kernel)), ("initrd", boot.initrd.as_ref())] {
            if let Some(file) = file.filter(|file| forest.resolve(file).is_none()) {
                return Err(wrong("/boot.json", format!("its {what} {file} is not in the closure")));
            }
        }
        let fstab = fstab::parse(&text("/etc/fstab")?.unwrap_or_default())
            .map_err(|error| wrong("/etc/fstab", error.to_string()))?;
        let params = text("/kernel-params")?.unwrap_or_else(|| boot.kernel_params.join(" "));
        let extension = document.as_ref().and_then(|document| document.extensions.get(NIXOS_INIT));
        let toplevel = Self {
            path: path.clone(),
            system,
            version,
            kernel_params: params,
            device_tree: document.as_ref().and_then(|document| document.device_tree().map(str::to_owned)),
            sort_key: document.as_ref().map_or("nixos", Document::sort_key).to_owned(),
            specialisations: Vec::new(),
            fstab,
            initrd: boot.initrd.as_ref().map_or_else(|| Ok(Initrd::default()), |at| initrd::read(forest, at)),
            installer: installer::read(forest, &path.to_string()),
            builtin: builtin(forest, path),
            has_secrets: has_secrets(forest, &boot)?,
            has_etc_overlay: is_there("/etc-metadata-image")
                || extension.is_some_and(|init| init.get("etc_basedir").is_some_and(|at| !at.is_null())),
            has_nixos_init: extension.is_some(),
            first_boot: FirstBoot::default(),
            extra_initrds: document.as_ref().map(Document::extra_initrds).unwrap_or_default(),
            boot,
        };
        let has_growpart = toplevel.initrd.as_ref().is_ok_and(|initrd| initrd.has_growpart);
        let first_boot = growth::read(forest, path, &toplevel.fstab, has_growpart);
        Ok((Self { first_boot, ..toplevel }, document))
    }
}

/// Whether an initrd takes secrets. NixOS before 25.05 always has the program for it, which may append nothing.
fn has_secrets(forest: &Forest, boot: &BootSpec) -> Result<bool, Error> {
    let Some(program) = &boot.initrd_secrets else { return Ok(false) };
    let text = forest.read(program)?.unwrap_or_default();
    Ok(secrets_appender::has_secrets(&String::from_utf8_lossy(&text)))
}

/// The drivers that `modules.builtin` lists.
fn builtin(forest: &Forest, path: &StorePath) -> Option<Vec<String>> {
    let modules = format!("{path}/kernel-modules/lib/modules");
    let [version] = &forest.names(&modules)[..] else { return None };
    let list = forest.read(&format!("{modules}/{version}/modules.builtin")).ok().flatten()?;
    let list = String::from_utf8_lossy(&list).into_owned();
    Some(list.lines().filter_map(|line| initrd::module(line.rsplit('/').next()?)).collect())
}

/// What `boot.json` would say, for a system older than bootspec.
fn synthesize(forest: &Forest, path: &StorePath, system: &str, version: &str) -> Result<BootSpec, Error> {
    let wrong = |message: &str| Error::Toplevel { path: path.to_string(), message: message.to_owned() };
    let resolved = |file: &str| forest.resolve(&format!("{path}{file}")).map(|found| found.path);
    let kernel = resolved("/kernel")
        .ok_or_else(|| wrong("is not a NixOS system: it has neither boot.json nor kernel"))?;
    let params =
        forest.read_text(&format!("{path}/kernel-params"))?.ok_or_else(|| wrong("has no kernel-params"))?;
    let (toplevel, initrd) = (path.to_string(), resolved("/initrd"));
    let versions = forest.names(&format!("{path}/kernel-modules/lib/modules"));
    let older = Older {
        toplevel: &toplevel,
        system,
        version,
        kernel: &kernel,
        kernel_version: versions.first().map(String::as_str),
        kernel_params: &params,
        initrd: initrd.as_deref(),
        has_secrets: resolved("/append-initrd-secrets").is_some(),
    };
    Ok(older.synthesize())
}
