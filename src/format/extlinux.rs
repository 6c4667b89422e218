//! `extlinux.conf` as NixOS's generic-extlinux-compatible builder writes it.
//!
//! Source: nixpkgs `nixos/modules/system/boot/loader/generic-extlinux-compatible/extlinux-conf-builder.sh`.

use super::date::Date;

/// What one entry boots; files are names in `/boot/nixos`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kernel.
    pub kernel: String,
    /// The initrd.
    pub initrd: Option<String>,
    /// The directory of device trees.
    pub fdtdir: Option<String>,
    /// The `init=` of the command line.
    pub init: String,
    /// The rest of the command line.
    pub kernel_params: Vec<String>,
}

/// A whole file: the default, and one generation with its specialisations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long the menu waits; `None` waits for ever.
    pub timeout_seconds: Option<u32>,
    /// The system.
    pub default: Entry,
    /// The number of its generation.
    pub generation: u32,
    /// When it was built, seconds since 1970.
    pub built: u32,
    /// The NixOS version.
    pub version: String,
    /// Its specialisations, by name.
    pub specialisations: Vec<(String, Entry)>,
}

impl Config {
    /// The text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let title = format!("MENU TITLE {}\n", "-".repeat(60));
        let (timeout, menu) = match self.timeout_seconds {
            None => (0, title),
            Some(0) => (1, "\n".to_owned()),
            Some(seconds) => (seconds * 10, title),
        };
        let mut text = format!(
            "# Generated file, all changes will be lost on nixos-rebuild!\n\n\
             # Change this to e.g. nixos-42 to temporarily boot to an older configuration.\n\
             DEFAULT nixos-default\n\nTIMEOUT {timeout}\n{menu}"
        );
        add(&mut text, "default", "NixOS - Default", &self.default);
        let mut generation = |name: &str, entry: &Entry| {
            let tag = format!("{}-{name}", self.generation);
            let Date { year, month, day, hour, minute, .. } = Date::of(self.built);
            let date = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}");
            add(&mut text, &tag, &format!("NixOS - Configuration {tag} ({date} - {})", self.version), entry);
        };
        generation("default", &self.default);
        // As `sort -n -r` does: names that begin with no number sort as text, backwards.
        for (name, entry) in self.specialisations.iter().rev() {
            generation(name, entry);
        }
        text
    }
}

fn add(text: &mut String, tag: &str, title: &str, entry: &Entry) {
    text.push_str(&format!("\nLABEL nixos-{tag}\n  MENU LABEL {title}\n  LINUX ../nixos/{}\n", entry.kernel));
    if let Some(initrd) = &entry.initrd {
        text.push_str(&format!("  INITRD ../nixos/{initrd}\n"));
    }
    text.push_str(&format!("  APPEND init={} {}\n", entry.init, entry.kernel_params.join(" ")));
    if let Some(fdtdir) = &entry.fdtdir {
        text.push_str(&format!("  FDTDIR ../nixos/{fdtdir}\n"));
    }
}

/// The labels of a file and the kernel and command line that each boots, for those who look at a card.
#[must_use]
pub fn entries(text: &str) -> Vec<(String, String, String)> {
    let mut found: Vec<(String, String, String)> = Vec::new();
    for line in text.lines() {
        let (word, value) = line.trim().split_once(' ').unwrap_or_default();
        match (word, found.last_mut()) {
            ("LABEL", _) => found.push((value.to_owned(), String::new(), String::new())),
            ("LINUX", Some(entry)) => value.clone_into(&mut entry.1),
            ("APPEND", Some(entry)) => value.clone_into(&mut entry.2),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_that_of_the_builder() {
        let default = Entry {
            kernel: "k-linux-6.12-Image".to_owned(),
            initrd: Some("i-initrd".to_owned()),
            fdtdir: Some("k-linux-6.12-dtbs".to_owned()),
            init: "/nix/store/t/init".to_owned(),
            kernel_params: vec!["loglevel=4".to_owned(), "lsm=yama".to_owned()],
        };
        let other = Entry { fdtdir: None, ..default.clone() };
        let specialisations = vec![("a".to_owned(), other.clone()), ("b".to_owned(), other)];
        let config = Config {
            timeout_seconds: Some(5),
            default,
            generation: 1,
            built: 1_763_698_200,
            version: "25.11".to_owned(),
            specialisations,
        };
        let text = config.render();
        let expected = "\
# Generated file, all changes will be lost on nixos-rebuild!

# Change this to e.g. nixos-42 to temporarily boot to an older configuration.
DEFAULT nixos-default

TIMEOUT 50
MENU TITLE ------------------------------------------------------------

LABEL nixos-default
  MENU LABEL NixOS - Default
  LINUX ../nixos/k-linux-6.12-Image
  INITRD ../nixos/i-initrd
  APPEND init=/nix/store/t/init loglevel=4 lsm=yama
  FDTDIR ../nixos/k-linux-6.12-dtbs

LABEL nixos-1-default
  MENU LABEL NixOS - Configuration 1-default (2025-11-21 04:10 - 25.11)
";
        assert!(text.starts_with(expected), "{text}");
        let labels: Vec<_> = entries(&text).into_iter().map(|(label, ..)| label).collect();
        assert_eq!(labels, ["nixos-default", "nixos-1-default", "nixos-1-b", "nixos-1-a"]);
    }
}
