//! What NixOS's builder for systemd-boot is told: constants in the text of its program, of every release.

use crate::format::boot::systemd_boot::Form;

/// Constants in `systemd-boot-builder.py`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemdBoot {
    /// Where it expects the EFI system partition.
    pub esp: String,
    /// Where it expects kernels and entries.
    pub boot: String,
    /// The directory of kernels on the partition, without slashes around.
    pub directory: String,
    /// Seconds that the menu waits, or a word.
    pub timeout: String,
    /// Lines of `loader.conf` between `default` and `console-mode`.
    pub extra: Vec<String>,
    /// The resolution of the menu.
    pub console_mode: String,
    /// What the system is called.
    pub distribution: String,
    /// How many generations it keeps.
    pub generations: u32,
    /// How often an entry is tried, where boots are counted.
    pub tries: Option<u32>,
    /// How it names and orders things.
    pub form: Form,
    /// How it names copies of files.
    pub naming: Naming,
    /// Whether entries name device trees.
    pub device_trees: bool,
    /// Whether it writes `sort-key`.
    pub sort_key: bool,
    /// Whether it copies other files, or runs other commands after it.
    pub more: bool,
}

/// How a builder for systemd-boot names copies of the store's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By the directory that a file is in: until NixOS 24.05.
    Directory,
    /// By its store path.
    StorePath,
}

impl Default for SystemdBoot {
    /// What NixOS has without a word.
    fn default() -> Self {
        Self {
            esp: "/boot".to_owned(),
            boot: "/boot".to_owned(),
            directory: "EFI/nixos".to_owned(),
            timeout: "5".to_owned(),
            extra: Vec::new(),
            console_mode: "keep".to_owned(),
            distribution: "NixOS".to_owned(),
            generations: u32::MAX,
            tries: None,
            form: Form::Generation,
            naming: Naming::StorePath,
            device_trees: true,
            sort_key: true,
            more: false,
        }
    }
}

/// Reads the constants of a builder, `None` where it is not NixOS's; `text` gives the programs that it names.
pub fn read(python: &str, more: bool, text: &dyn Fn(&str) -> Option<String>) -> Option<SystemdBoot> {
    // NAME = "value", also within a call; the first string of the line is the value.
    let constant = |name: &str| {
        let line = python.lines().find(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" = ") && rest.contains('"'))
        });
        // The value of a call may stand in the lines below it.
        let call = || python.split_once(&format!("\n{name} = ")).and_then(|(_, rest)| rest.split('"').nth(1));
        line.and_then(|line| line.split('"').nth(1)).or_else(call).map(str::to_owned)
    };
    if !python.contains("loader/entries") {
        return None;
    }
    let default = SystemdBoot::default();
    let esp = constant("EFI_SYS_MOUNT_POINT").unwrap_or(default.esp);
    let mut extra = Vec::new();
    if constant("EDITOR").is_some_and(|editor| editor != "1") {
        extra.push("editor 0".to_owned());
    }
    if constant("REBOOT_FOR_BITLOCKER").is_some_and(|reboot| !reboot.is_empty()) {
        extra.push("reboot-for-bitlocker yes".to_owned());
    }
    // Extra files and entries: a script that is empty but for its first lines where there are none.
    let copies = constant("COPY_EXTRA_FILES").and_then(|program| text(&program));
    let more = more || copies.is_some_and(|script| script.contains("bin/install -D"));
    let counts = constant("BOOT_COUNTING").is_some_and(|word| word == "True");
    Some(SystemdBoot {
        boot: constant("BOOT_MOUNT_POINT").unwrap_or_else(|| esp.clone()),
        esp,
        directory: constant("NIXOS_DIR")
            .map_or(default.directory, |directory| directory.trim_matches('/').to_owned()),
        timeout: constant("TIMEOUT").unwrap_or(default.timeout),
        extra,
        console_mode: constant("CONSOLE_MODE").unwrap_or(default.console_mode),
        distribution: constant("DISTRO_NAME").unwrap_or(default.distribution),
        generations: constant("CONFIGURATION_LIMIT")
            .and_then(|limit| limit.parse().ok())
            .filter(|limit| *limit > 0)
            .unwrap_or(u32::MAX),
        tries: constant("BOOT_COUNTING_TRIES").filter(|_| counts).and_then(|tries| tries.parse().ok()),
        form: if python.contains("contents_hash") { Form::Hash } else { Form::Generation },
        naming: if python.contains("STORE_DIR") { Naming::StorePath } else { Naming::Directory },
        device_trees: python.contains("devicetree"),
        sort_key: python.contains("sort-key"),
        more,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::installer::program::Installer;
    use crate::compose::installer::read::of_texts;

    #[test]
    fn constants_of_the_systemd_boot_builder_are_read_from_old_and_new_ones() {
        let wrapper = "export INSTALL_BOOTLOADER='/nix/store/i-install-systemd-boot.sh'\n";
        let install = "#!/nix/store/b/bin/sh\n/nix/store/s-systemd-boot/bin/systemd-boot \"$@\"\n\n";
        let run = |install: &str, python: &str| {
            let found = of_texts(&[
                ("", wrapper),
                ("/nix/store/i-install-systemd-boot.sh", install),
                ("/nix/store/s-systemd-boot/bin/systemd-boot", python),
                ("/nix/store/c-copy", "#!/bin/sh\nempty=$(mktemp)\n"),
                (
                    "/nix/store/d-copy",
                    "#!/bin/sh\n/nix/store/u/bin/install -Dp /nix/store/m /boot/efi/memtest.efi\n",
                ),
            ]);
            match found {
                Installer::SystemdBoot(found) => *found,
                other => panic!("{other:?}"),
            }
        };
        let new = "EFI_SYS_MOUNT_POINT = Path(\"/efi\")\nBOOT_MOUNT_POINT = Path(\"/boot\")\n\
            NIXOS_DIR = Path(\n    \"/EFI/nixos\".strip(\"/\")\n)  # relative\nTIMEOUT = \"menu-force\"\n\
            EDITOR = \"0\" == \"1\"  # noqa\nCONSOLE_MODE = \"max\"\nDISTRO_NAME = \"Mine\"\n\
            CONFIGURATION_LIMIT = int(\"0\")\nREBOOT_FOR_BITLOCKER = bool(\"\")\nBOOT_COUNTING_TRIES = \"3\"\n\
            BOOT_COUNTING = \"True\" == \"True\"\nSTORE_DIR = \"/nix/store\"\nCOPY_EXTRA_FILES = \"/nix/store/c-copy\"\n\
            # loader/entries sort-key contents_hash devicetree\n";
        let expected = SystemdBoot {
            esp: "/efi".to_owned(),
            timeout: "menu-force".to_owned(),
            extra: vec!["editor 0".to_owned()],
            console_mode: "max".to_owned(),
            distribution: "Mine".to_owned(),
            tries: Some(3),
            form: Form::Hash,
            ..SystemdBoot::default()
        };
        assert_eq!(run(install, new), expected);
        assert!(run(install, &new.replace("c-copy", "d-copy")).more, "extra files are not overlooked");
        let old = "EFI_SYS_MOUNT_POINT = \"/boot/efi\"\nTIMEOUT = \"7\"\nEDITOR = \"1\" == \"1\"\n\
            CONFIGURATION_LIMIT = int(\"9\")\n# loader/entries\n";
        let expected = SystemdBoot {
            esp: "/boot/efi".to_owned(),
            boot: "/boot/efi".to_owned(),
            timeout: "7".to_owned(),
            generations: 9,
            naming: Naming::Directory,
            device_trees: false,
            sort_key: false,
            more: true,
            ..SystemdBoot::default()
        };
        assert_eq!(run(&format!("{install}cp a b\n"), old), expected);
    }
}
