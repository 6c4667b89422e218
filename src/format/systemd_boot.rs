//! systemd-boot's `loader.conf` and entries as NixOS's builder writes them.
//!
//! Source: nixpkgs `nixos/modules/system/boot/loader/systemd-boot/systemd-boot-builder.py`.

use super::date::Date;

/// One entry; files are paths on the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number of the generation.
    pub generation: u32,
    /// The name of the specialisation, if it is one.
    pub specialisation: Option<String>,
    /// What the menu calls it.
    pub label: String,
    /// When it was built, seconds since 1970.
    pub built: u32,
    /// The kernel.
    pub linux: String,
    /// The initrd.
    pub initrd: Option<String>,
    /// The `init=` of the command line.
    pub init: String,
    /// The rest of the command line.
    pub kernel_params: Vec<String>,
}

impl Entry {
    /// The name of its file in `loader/entries`.
    #[must_use]
    pub fn file_name(&self) -> String {
        match &self.specialisation {
            Some(name) => format!("nixos-generation-{}-specialisation-{name}.conf", self.generation),
            None => format!("nixos-generation-{}.conf", self.generation),
        }
    }

    /// The text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let title = match &self.specialisation {
            Some(name) => format!("NixOS ({name})"),
            None => "NixOS".to_owned(),
        };
        let Date { year, month, day, .. } = Date::of(self.built);
        let mut text = format!(
            "title {title}\nsort-key nixos\nversion Generation {} {}, built on {year:04}-{month:02}-{day:02}\nlinux {}\n",
            self.generation, self.label, self.linux
        );
        if let Some(initrd) = &self.initrd {
            text.push_str(&format!("initrd {initrd}\n"));
        }
        text.push_str(&format!("options init={} {}\n", self.init, self.kernel_params.join(" ")));
        text
    }
}

/// `loader/loader.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderConf {
    /// How long the menu waits; `None` waits for ever.
    pub timeout_seconds: Option<u32>,
    /// The file of the default entry.
    pub default: String,
}

impl LoaderConf {
    /// The text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let timeout =
            self.timeout_seconds.map_or_else(|| "menu-force".to_owned(), |seconds| seconds.to_string());
        format!("timeout {timeout}\ndefault {}\nconsole-mode keep\n", self.default)
    }
}

/// The value of a key in a file of either kind.
#[must_use]
pub fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.trim().split_once(char::is_whitespace).filter(|(word, _)| *word == key))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_that_of_the_builder() {
        let entry = Entry {
            generation: 1,
            specialisation: None,
            label: "NixOS 25.11 (Linux 6.12)".to_owned(),
            built: 1_763_698_200,
            linux: "/EFI/nixos/k-Image.efi".to_owned(),
            initrd: Some("/EFI/nixos/i-initrd.efi".to_owned()),
            init: "/nix/store/t/init".to_owned(),
            kernel_params: vec!["loglevel=4".to_owned()],
        };
        let expected = "title NixOS\nsort-key nixos\nversion Generation 1 NixOS 25.11 (Linux 6.12), built on 2025-11-21\n\
            linux /EFI/nixos/k-Image.efi\ninitrd /EFI/nixos/i-initrd.efi\noptions init=/nix/store/t/init loglevel=4\n";
        assert_eq!(
            (entry.file_name(), entry.render()),
            ("nixos-generation-1.conf".to_owned(), expected.to_owned())
        );
        assert_eq!(value(expected, "options"), Some("init=/nix/store/t/init loglevel=4"));
        let special = Entry { specialisation: Some("x".to_owned()), ..entry };
        assert_eq!(special.file_name(), "nixos-generation-1-specialisation-x.conf");
        assert!(special.render().starts_with("title NixOS (x)\n"));
        let conf = LoaderConf { timeout_seconds: Some(5), default: "a.conf".to_owned() };
        assert_eq!(conf.render(), "timeout 5\ndefault a.conf\nconsole-mode keep\n");
    }
}
