//! systemd-boot's `loader.conf` and entries as NixOS's builder writes them, and as systemd-boot reads them.
//!
//! ```text
//! KEY VALUE        title version linux initrd options machine-id devicetree sort-key; timeout default editor ...
//! ```
//! Sources: nixpkgs `nixos/modules/system/boot/loader/systemd-boot/systemd-boot-builder.py`; the UAPI Group's Boot
//! Loader Specification, type 1; loader.conf(5).

use crate::base_n;
use crate::format::file::date::Date;
use sha2::{Digest, Sha256};

/// How the builder of a NixOS release names and orders things. A builder replaces what another one wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `nixos-generation-1.conf`: older releases.
    Generation,
    /// `nixos-` and the SHA-256 of the contents: newer ones.
    Hash,
}

/// One entry; files are paths on the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the system is called: `NixOS`.
    pub distribution: String,
    /// The number of the generation.
    pub generation: u32,
    /// The name of the specialisation, if it is one.
    pub specialisation: Option<String>,
    /// What the menu calls it.
    pub label: String,
    /// When it was built, seconds since 1970.
    pub built: u32,
    /// The kernel, as a path on the ESP.
    pub linux: String,
    /// The initrd, as a path on the ESP.
    pub initrd: Option<String>,
    /// The `init=` of the command line.
    pub init: String,
    /// The rest of the command line.
    pub kernel_params: Vec<String>,
}

/// What an entry says only where a system wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra<'a> {
    /// The device tree, a path on the partition.
    pub device_tree: Option<&'a str>,
    /// The key by which the menu is sorted; empty for none, which builders before NixOS 23.11 wrote.
    pub sort_key: &'a str,
}

impl Entry {
    /// What `default` in `loader.conf` says, and the name of its file in `loader/entries` where boots are not counted.
    #[must_use]
    pub fn id(&self, form: Form, extra: Extra<'_>) -> String {
        match (form, &self.specialisation) {
            (Form::Hash, _) => {
                let text = self.render(form, extra);
                format!("nixos-{}.conf", base_n::to_base16(&Sha256::digest(text.as_bytes())))
            }
            (Form::Generation, Some(name)) => {
                format!("nixos-generation-{}-specialisation-{name}.conf", self.generation)
            }
            (Form::Generation, None) => format!("nixos-generation-{}.conf", self.generation),
        }
    }

    /// The text of the file.
    #[must_use]
    pub fn render(&self, form: Form, extra: Extra<'_>) -> String {
        let special = self.specialisation.as_ref().map(|name| format!(" ({name})"));
        let title = format!("title {}{}", self.distribution, special.unwrap_or_default());
        let Date { year, month, day, .. } = Date::of(self.built);
        let version = format!(
            "version Generation {} {}, built on {year:04}-{month:02}-{day:02}",
            self.generation, self.label
        );
        let sort_key =
            Some(extra.sort_key).filter(|key| !key.is_empty()).map(|key| format!("sort-key {key}"));
        let linux = format!("linux {}", self.linux);
        let initrd = self.initrd.as_ref().map(|initrd| format!("initrd {initrd}"));
        let device_tree = extra.device_tree.map(|path| format!("devicetree {path}"));
        match form {
            Form::Generation => {
                // The blank after init= stays where there are no parameters.
                let options = format!("options init={} {}", self.init, self.kernel_params.join(" "));
                let lines = [Some(title), sort_key, Some(version), Some(linux), initrd, Some(options)];
                let lines = lines.into_iter().chain([device_tree]).flatten();
                lines.map(|line| line + "\n").collect()
            }
            Form::Hash => {
                let init = format!("init={}", self.init);
                let words = std::iter::once(&init).chain(&self.kernel_params);
                let options = format!("options {}", words.map(String::as_str).collect::<Vec<_>>().join(" "));
                let lines = [Some(title), Some(version), Some(linux), initrd, Some(options)];
                let lines = lines.into_iter().chain([device_tree, sort_key]).flatten();
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// `loader/loader.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderConf {
    /// How long the menu waits: seconds, `menu-force` for ever; nothing is said where it is empty.
    pub timeout: String,
    /// The entry that is booted when nobody chooses.
    pub default: String,
    /// Whether boots are counted: then the default is only preferred, and another one takes its place when it fails.
    pub counts_boots: bool,
    /// Lines before the last, as they are: `editor 0`, `reboot-for-bitlocker yes`.
    pub extra: Vec<String>,
    /// The resolution of the menu.
    pub console_mode: String,
}

impl LoaderConf {
    /// The text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let mut lines = Vec::new();
        if !self.timeout.is_empty() {
            lines.push(format!("timeout {}", self.timeout));
        }
        if self.counts_boots {
            lines.push(format!("preferred {}", self.default));
            lines.push("default nixos-*".to_owned());
        } else {
            lines.push(format!("default {}", self.default));
        }
        lines.extend(self.extra.iter().cloned());
        lines.push(format!("console-mode {}", self.console_mode));
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// An entry or a `loader.conf`, read: keys and values in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read<'a> {
    /// Keys, which may occur more than once, and their values.
    pub lines: Vec<(&'a str, &'a str)>,
}

impl<'a> Read<'a> {
    /// The last value of a key, which is the one that counts; empty where the key has none.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a str> {
        self.lines.iter().rev().find(|(word, _)| *word == key).map(|(_, value)| *value)
    }

    /// All values of a key in one line: initrds and options add up.
    #[must_use]
    pub fn values(&self, key: &str) -> Vec<&'a str> {
        self.lines.iter().filter(|(word, _)| *word == key).map(|(_, value)| *value).collect()
    }
}

/// Reads a file of either kind; empty lines and comments are passed over.
#[must_use]
pub fn parse(text: &str) -> Read<'_> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &'_ str| -> usize { line.find(char::is_whitespace).unwrap_or(line.len()) };
    Read { lines: lines.map(|line| (&line[..split(line)], line[split(line)..].trim_start())).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            distribution: "NixOS".to_owned(),
            generation: 1,
            specialisation: None,
            label: "NixOS 25.11 (Linux 6.12)".to_owned(),
            built: 1_763_698_200,
            linux: "/EFI/nixos/k-Image.efi".to_owned(),
            initrd: Some("/EFI/nixos/i-initrd.efi".to_owned()),
            init: "/nix/store/t/init".to_owned(),
            kernel_params: vec!["loglevel=4".to_owned(), "lsm=yama".to_owned()],
        }
    }

    const OLD: Form = Form::Generation;
    const PLAIN: Extra<'_> = Extra { device_tree: None, sort_key: "nixos" };
    const EXTRA: Extra<'_> = Extra { device_tree: Some("/EFI/nixos/d-board.dtb.efi"), sort_key: "z" };

    #[test]
    fn an_entry_of_a_generation_is_that_of_the_builder() {
        let entry = entry();
        let expected = "\
title NixOS
sort-key nixos
version Generation 1 NixOS 25.11 (Linux 6.12), built on 2025-11-21
linux /EFI/nixos/k-Image.efi
initrd /EFI/nixos/i-initrd.efi
options init=/nix/store/t/init loglevel=4 lsm=yama
";
        assert_eq!(
            (&entry.id(OLD, PLAIN)[..], &entry.render(OLD, PLAIN)[..]),
            ("nixos-generation-1.conf", expected)
        );
        let with_tree = format!(
            "{}devicetree /EFI/nixos/d-board.dtb.efi\n",
            expected.replace("sort-key nixos", "sort-key z")
        );
        assert_eq!(entry.render(OLD, EXTRA), with_tree);
        let special = Entry { specialisation: Some("x".to_owned()), initrd: None, ..entry };
        assert_eq!(special.id(OLD, PLAIN), "nixos-generation-1-specialisation-x.conf");
        let expected =
            expected.replace("NixOS\n", "NixOS (x)\n").replace("initrd /EFI/nixos/i-initrd.efi\n", "");
        assert_eq!(special.render(OLD, PLAIN), expected);
    }

    #[test]
    fn an_entry_named_by_its_hash_is_that_of_the_builder() {
        let entry = entry();
        let expected = "\
title NixOS
version Generation 1 NixOS 25.11 (Linux 6.12), built on 2025-11-21
linux /EFI/nixos/k-Image.efi
initrd /EFI/nixos/i-initrd.efi
options init=/nix/store/t/init loglevel=4 lsm=yama
sort-key nixos";
        assert_eq!(entry.render(Form::Hash, PLAIN), expected);
        // `printf '%s' "$expected" | sha256sum`
        let name = "nixos-29a7cc49ed2db924b20d0b1b6a417b345b3d10e1961c789c09398df45074f07c.conf";
        assert_eq!(entry.id(Form::Hash, PLAIN), name);
        let with_tree =
            expected.replace("sort-key nixos", "devicetree /EFI/nixos/d-board.dtb.efi\nsort-key z");
        assert_eq!(entry.render(Form::Hash, EXTRA), with_tree);
        let bare = Entry { kernel_params: vec![], ..entry };
        assert!(bare.render(Form::Hash, PLAIN).contains("init=/nix/store/t/init\nsort-key"));
        assert!(
            bare.render(OLD, PLAIN).contains("init=/nix/store/t/init \n"),
            "the older builder leaves a blank"
        );
    }

    #[test]
    fn loader_conf_is_that_of_the_builder() {
        let conf = LoaderConf {
            timeout: "5".to_owned(),
            default: "a.conf".to_owned(),
            counts_boots: false,
            extra: vec![],
            console_mode: "keep".to_owned(),
        };
        assert_eq!(conf.render(), "timeout 5\ndefault a.conf\nconsole-mode keep\n");
        let conf = LoaderConf {
            timeout: "menu-force".to_owned(),
            counts_boots: true,
            extra: vec!["editor 0".to_owned()],
            ..conf
        };
        assert_eq!(
            conf.render(),
            "timeout menu-force\npreferred a.conf\ndefault nixos-*\neditor 0\nconsole-mode keep\n"
        );
        assert!(LoaderConf { timeout: String::new(), ..conf }.render().starts_with("preferred"));
    }

    #[test]
    fn what_is_written_is_read_and_the_last_value_counts() {
        let text = entry().render(OLD, PLAIN);
        let read = parse(&text);
        assert_eq!(read.value("options"), Some("init=/nix/store/t/init loglevel=4 lsm=yama"));
        assert_eq!(read.value("devicetree"), None);
        let read = parse("# title no\r\n\n title \t a  b\r\ninitrd /1\ninitrd /2\ntitle c\neditor\n");
        assert_eq!((read.value("title"), read.value("editor")), (Some("c"), Some("")));
        assert_eq!(read.values("initrd"), ["/1", "/2"]);
        assert_eq!(parse(""), Read::default());
    }
}
