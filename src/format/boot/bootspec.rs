//! `boot.json`, the boot specification of a toplevel (NixOS RFC 125, version 1).
//!
//! Source: `DeterminateSystems/bootspec`, schema and `synthesize`; nixpkgs
//! `nixos/modules/system/activation/bootspec.nix`, `.../boot/loader/systemd-boot/systemd-boot.nix`.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The extension of systemd-boot.
const SYSTEMD_BOOT: &str = "org.nixos.systemd-boot";

/// What is needed to boot a system: `org.nixos.bootspec.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootSpec {
    /// The platform: `aarch64-linux`.
    pub system: String,
    /// What a menu calls it.
    pub label: String,
    /// The toplevel of the system: a store path.
    pub toplevel: String,
    /// The program that the initrd starts.
    pub init: String,
    /// The file of the kernel, in the store.
    pub kernel: String,
    /// Its parameters, without `init=`.
    pub kernel_params: Vec<String>,
    /// The file of the initrd, in the store; a system may have none.
    pub initrd: Option<String>,
    /// A program that appends secrets to the initrd when the system is installed.
    pub initrd_secrets: Option<String>,
}

/// The extension of initrds on the boot partition.
const EXTRA_INITRD: &str = "org.nixos.extra-initrd.v1";

/// A whole document: the system, and those derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Document {
    /// What boots the system itself.
    #[serde(rename = "org.nixos.bootspec.v1")]
    pub spec: BootSpec,
    /// Its specialisations, by name.
    #[serde(rename = "org.nixos.specialisation.v1", default)]
    pub specialisations: BTreeMap<String, Document>,
    /// Everything else, by its key.
    #[serde(flatten)]
    pub extensions: BTreeMap<String, Value>,
}

impl Document {
    /// The device tree that systemd-boot is to load, where the system names one.
    #[must_use]
    pub fn device_tree(&self) -> Option<&str> {
        self.extensions.get(SYSTEMD_BOOT)?.get("devicetree")?.as_str()
    }

    /// Initrds that lie on the boot partition already, as paths on that.
    #[must_use]
    pub fn extra_initrds(&self) -> Vec<String> {
        let paths =
            self.extensions.get(EXTRA_INITRD).and_then(|extension| extension.get("paths")?.as_array());
        paths.into_iter().flatten().filter_map(|path| path.as_str().map(str::to_owned)).collect()
    }

    /// The key by which systemd-boot sorts the system's entries.
    #[must_use]
    pub fn sort_key(&self) -> &str {
        let key = self.extensions.get(SYSTEMD_BOOT).and_then(|extension| extension.get("sortKey")?.as_str());
        key.unwrap_or("nixos")
    }
}

/// Parses a document; keys that are not known are kept.
pub fn parse(json: &[u8]) -> Result<Document, serde_json::Error> {
    crate::format::file::json::parse(json)
}

/// What a toplevel without `boot.json` says of itself: one built before NixOS 22.11, or with bootspec switched off.
#[derive(Clone, Copy, Debug)]
pub struct Older<'a> {
    /// Its store path.
    pub toplevel: &'a str,
    /// Its file `system`.
    pub system: &'a str,
    /// Its file `nixos-version`.
    pub version: &'a str,
    /// Where its link `kernel` leads.
    pub kernel: &'a str,
    /// The name in `kernel-modules/lib/modules`.
    pub kernel_version: Option<&'a str>,
    /// Its file `kernel-params`.
    pub kernel_params: &'a str,
    /// Where its link `initrd` leads.
    pub initrd: Option<&'a str>,
    /// Whether it has the program `append-initrd-secrets`.
    pub has_secrets: bool,
}

impl Older<'_> {
    /// What its `boot.json` would say.
    #[must_use]
    pub fn synthesize(&self) -> BootSpec {
        let Self { toplevel, version, .. } = self;
        let kernel_version = self.kernel_version.map(|version| format!(" (Linux {version})"));
        BootSpec {
            system: self.system.trim_end().to_owned(),
            label: format!("NixOS {}{}", version.trim_end(), kernel_version.unwrap_or_default()),
            toplevel: (*toplevel).to_owned(),
            init: format!("{toplevel}/init"),
            kernel: self.kernel.to_owned(),
            kernel_params: self.kernel_params.split_ascii_whitespace().map(str::to_owned).collect(),
            initrd: self.initrd.map(str::to_owned),
            initrd_secrets: self.has_secrets.then(|| format!("{toplevel}/append-initrd-secrets")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{"system":"aarch64-linux","label":"l","toplevel":"/t","init":"/t/init","kernel":"/k","kernelParams":["a","b=c"],"initrd":"/i","initrdSecrets":null,"later":1}"#;

    #[test]
    fn documents_with_specialisations_and_extensions_parse() {
        let json = format!(
            r#"{{"org.nixos.bootspec.v1":{SPEC},"org.nixos.specialisation.v1":{{"x":{{"org.nixos.bootspec.v1":{SPEC},"org.nixos.systemd-boot":{{"sortKey":"z"}}}}}},
            "org.example":[1],"org.nixos.systemd-boot":{{"sortKey":"nixos","devicetree":"/d.dtb"}}}}"#
        );
        let document = parse(json.as_bytes()).unwrap();
        assert_eq!(document.spec.kernel_params, ["a", "b=c"]);
        assert_eq!(document.spec.initrd.as_deref(), Some("/i"));
        assert_eq!(document.spec.initrd_secrets, None);
        assert_eq!((document.device_tree(), document.sort_key()), (Some("/d.dtb"), "nixos"));
        assert_eq!(document.extensions["org.example"], serde_json::json!([1]));
        let special = &document.specialisations["x"];
        assert_eq!((&special.spec.kernel[..], special.sort_key(), special.device_tree()), ("/k", "z", None));
    }

    #[test]
    fn what_is_missing_is_named() {
        for key in ["system", "label", "toplevel", "init", "kernel", "kernelParams"] {
            let spec = SPEC.replace(&format!("\"{key}\""), "\"other\"");
            let json = format!(r#"{{"org.nixos.bootspec.v1":{spec}}}"#);
            assert!(parse(json.as_bytes()).unwrap_err().to_string().contains(key), "{key}");
        }
        assert!(parse(b"{}").unwrap_err().to_string().contains("org.nixos.bootspec.v1"));
        assert!(parse(b"[]").is_err());
    }

    #[test]
    fn depth_is_bounded() {
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        let open = format!(r#"{{"org.nixos.bootspec.v1":{SPEC},"org.nixos.specialisation.v1":{{"x":"#);
        assert!(parse(open.repeat(20_000).as_bytes()).is_err());
    }

    #[test]
    fn an_older_system_gets_what_its_boot_json_would_say() {
        // The values of a NixOS 21.11, and what `synthesize` of DeterminateSystems/bootspec makes of them.
        let older = Older {
            toplevel: "/nix/store/t-nixos-system-nixos-21.11pre-git",
            system: "x86_64-linux",
            version: "21.11pre-git\n",
            kernel: "/nix/store/k-linux-5.10.81/bzImage",
            kernel_version: Some("5.10.81"),
            kernel_params: "loglevel=4 net.ifnames=0",
            initrd: Some("/nix/store/i-initrd-linux-5.10.81/initrd"),
            has_secrets: true,
        };
        let json = r#"{"org.nixos.bootspec.v1": {"label": "NixOS 21.11pre-git (Linux 5.10.81)",
            "kernel": "/nix/store/k-linux-5.10.81/bzImage", "kernelParams": ["loglevel=4", "net.ifnames=0"],
            "init": "/nix/store/t-nixos-system-nixos-21.11pre-git/init",
            "initrd": "/nix/store/i-initrd-linux-5.10.81/initrd",
            "initrdSecrets": "/nix/store/t-nixos-system-nixos-21.11pre-git/append-initrd-secrets",
            "system": "x86_64-linux", "toplevel": "/nix/store/t-nixos-system-nixos-21.11pre-git"}}"#;
        assert_eq!(older.synthesize(), parse(json.as_bytes()).unwrap().spec);
    }
}
