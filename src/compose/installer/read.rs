//! The text of a toplevel, read for the program that it installs its boot loader with.

use super::program::{DeviceTrees, Extlinux, Installer, RaspberryPi};
use super::systemd_boot;
use crate::compose::closure::Forest;

/// Reads what a toplevel installs its boot loader with.
pub fn read(forest: &Forest, toplevel: &str) -> Installer {
    // A program that is too large or no text says nothing, and is not followed.
    let text = |path: &str| {
        forest.read(path).ok().flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let command = text(&format!("{toplevel}/bin/switch-to-configuration")).and_then(|text| command(&text));
    command.map_or(Installer::None, |command| follow(&words(&command), &text))
}

/// The command that a `switch-to-configuration` installs the boot loader with.
fn command(text: &str) -> Option<String> {
    if let Some((_, rest)) = text.split_once("INSTALL_BOOTLOADER") {
        let rest = rest.trim_start_matches(['=', ' ', '\0']);
        let quoted = rest.strip_prefix('\'').or_else(|| rest.strip_prefix('"'));
        let end = if quoted.is_some() { &['\'', '"', '\n'][..] } else { &['\n', '\0'] };
        return quoted.unwrap_or(rest).split(end).next().map(str::to_owned);
    }
    let here = text.split_once("<<'EOFBOOTLOADER';\n").map(|(_, rest)| rest.lines().next());
    let perl = || text.split_once("system(\"/nix/store/").map(|(_, rest)| rest.split('"').next());
    here.flatten().map(str::to_owned).or_else(|| Some(format!("/nix/store/{}", perl()??)))
}

/// The words of a command, quotes taken away; nothing is expanded.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut inside) = (String::new(), None, false);
    for c in command.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('\'' | '"', None) => (quote, inside) = (Some(c), true),
            (c, None) if c.is_whitespace() => {
                if inside {
                    words.push(std::mem::take(&mut word));
                }
                inside = false;
            }
            (c, None) => {
                word.push(c);
                inside = true;
            }
        }
    }
    if inside {
        words.push(word);
    }
    words
}

/// Understands a command, and the script that it may be.
fn follow(words: &[String], text: &dyn Fn(&str) -> Option<String>) -> Installer {
    let Some((program, flags)) = words.split_first() else { return Installer::None };
    let is = |name: &str| program.ends_with(name);
    if is("extlinux-conf-builder.sh") {
        return Installer::Extlinux(vec![extlinux(flags)]);
    }
    if is("-nixos-generations-builder.sh") {
        let script = text(program).unwrap_or_default();
        let device_trees = device_trees(&script, text);
        return Installer::RaspberryPi(RaspberryPi { device_trees, ..raspberry_pi(flags, &script) });
    }
    if is("/bin/systemd-boot") {
        return systemd_boot(&text(program).unwrap_or_default(), false, text);
    }
    if is("install-extlinux-conf.sh") || is("install-systemd-boot.sh") {
        return script(&text(program).unwrap_or_default(), text);
    }
    if is("/bin/true") || is("-no-bootloader") {
        return Installer::None;
    }
    let is_signed = |script: &str| script.contains("/lzbt") || script.contains("lanzaboote");
    if is_signed(program) || text(program).is_some_and(|script| is_signed(&script)) {
        return Installer::Other(LANZABOOTE.to_owned());
    }
    Installer::Other(name(program))
}

/// The name of the boot loader whose entries are signed.
pub const LANZABOOTE: &str = "lanzaboote";

/// Whether a line of a script only sets how the shell works.
fn is_setting(line: &str) -> bool {
    let word = line.split_ascii_whitespace().next().unwrap_or_default();
    matches!(word, "set" | "shopt" | "export" | "umask" | "unset" | "trap" | ":") || word.starts_with("PATH=")
}

/// A script of commands, those of one builder among them.
fn script(script: &str, text: &dyn Fn(&str) -> Option<String>) -> Installer {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let commands: Vec<Vec<String>> = lines.filter(|line| !is_setting(line)).map(words).collect();
    let of = |name: &str| -> Vec<&Vec<String>> {
        commands.iter().filter(|words| words.first().is_some_and(|word| word.ends_with(name))).collect()
    };
    if let Some(builder) = of("/bin/systemd-boot").first().and_then(|words| words.first()) {
        return systemd_boot(&text(builder).unwrap_or_default(), commands.len() > 1, text);
    }
    let builders = of("extlinux-conf-builder.sh");
    if builders.is_empty() {
        return Installer::Other("a script".to_owned());
    }
    Installer::Extlinux(builders.into_iter().map(|words| extlinux(&words[1..])).collect())
}

/// The name of a store path without its hash.
fn name(program: &str) -> String {
    let base = program.trim_start_matches("/nix/store/");
    base.split_once('-').map_or(base, |(_, name)| name).to_owned()
}

/// The value of each flag, and whether it is there at all.
fn flag<'a>(flags: &'a [String], name: &str) -> Option<&'a str> {
    let at = flags.iter().position(|word| word == name)?;
    Some(flags.get(at + 1).map_or("", String::as_str))
}

fn extlinux(flags: &[String]) -> Extlinux {
    let default = Extlinux::default();
    Extlinux {
        // The builder itself has none where nothing is said.
        generations: flag(flags, "-g").and_then(|count| count.parse().ok()).unwrap_or(0),
        timeout: flag(flags, "-t").and_then(|seconds| seconds.parse().ok()).unwrap_or(default.timeout),
        device_tree: flag(flags, "-n").filter(|name| !name.is_empty()).map(str::to_owned),
        no_device_tree: flag(flags, "-r").is_some(),
        directory: flag(flags, "-d").map_or(default.directory, str::to_owned),
    }
}

/// Follows the builder of generations to that of one, and to what it has device trees installed with.
fn device_trees(script: &str, text: &dyn Fn(&str) -> Option<String>) -> DeviceTrees {
    let line_with = |script: &str, end: &str| -> Option<Vec<String>> {
        let mut lines = script.lines().map(words);
        lines.find(|words| words.iter().any(|word| word.starts_with("/nix/store/") && word.ends_with(end)))
    };
    let program = |words: &[String], end: &str| words.iter().find(|word| word.ends_with(end)).cloned();
    let installs = || {
        let one = program(&line_with(script, "kernelboot-gen-builder.sh")?, "kernelboot-gen-builder.sh")?;
        line_with(&text(&one)?, "install-device-tree.sh")
    };
    let Some(command) = installs().filter(|words| words.iter().any(|word| word == "-r")) else {
        return DeviceTrees::Kernel;
    };
    let installer =
        program(&command, "install-device-tree.sh").and_then(|program| text(&program)).unwrap_or_default();
    let directory = installer.lines().map(str::trim).find_map(|line| {
        let value = line.strip_prefix("firmware=").or_else(|| line.strip_prefix("local firmware="))?;
        Some(words(value).concat())
    });
    directory.map_or(DeviceTrees::Kernel, DeviceTrees::Firmware)
}

fn raspberry_pi(flags: &[String], script: &str) -> RaspberryPi {
    let default = RaspberryPi::default();
    let directory = script.split_once("gensDir=\"$outdir/").and_then(|(_, rest)| rest.split('"').next());
    RaspberryPi {
        generations: flag(flags, "-g").and_then(|count| count.parse().ok()).unwrap_or(0),
        firmware: flag(flags, "-f").map_or(default.firmware, str::to_owned),
        directory: directory.map_or(default.directory, |name| name.trim_matches('/').to_owned()),
        device_trees: DeviceTrees::Kernel,
    }
}

/// What the builder for systemd-boot is told in the text of its program, where that is NixOS's.
fn systemd_boot(python: &str, more: bool, text: &dyn Fn(&str) -> Option<String>) -> Installer {
    match systemd_boot::read(python, more, text) {
        Some(found) => Installer::SystemdBoot(Box::new(found)),
        None => Installer::Other("a builder for systemd-boot that is not NixOS's".to_owned()),
    }
}

/// What a toplevel installs whose programs are these, the first of them its `switch-to-configuration`.
#[cfg(test)]
pub(super) fn of_texts(files: &[(&str, &str)]) -> Installer {
    let text = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
    command(files[0].1).map_or(Installer::None, |command| follow(&words(&command), &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "/nix/store/h-install-extlinux-conf.sh";

    #[test]
    fn flags_of_the_extlinux_builder_are_read_from_every_kind_of_wrapper() {
        let install = "#!/nix/store/b-bash/bin/bash\nset -e\n\
            /nix/store/e-extlinux-conf-builder.sh -g 20 -t -1 -n rockchip/a.dtb -r -d '/boot' -c \"$@\"\n\
            /nix/store/e-extlinux-conf-builder.sh -g 3 -t 0 -d '/mnt/b c' -c \"$@\"\n";
        let expected = Installer::Extlinux(vec![
            Extlinux {
                generations: 20,
                timeout: -1,
                device_tree: Some("rockchip/a.dtb".to_owned()),
                no_device_tree: true,
                directory: "/boot".to_owned(),
            },
            Extlinux {
                generations: 3,
                timeout: 0,
                device_tree: None,
                no_device_tree: false,
                directory: "/mnt/b c".to_owned(),
            },
        ]);
        for wrapper in [
            format!("#! /bin/sh -e\nexport OUT='/nix/store/t'\nexport INSTALL_BOOTLOADER='{SCRIPT}'\nexec x"),
            format!("INSTALL_BOOTLOADER\0{SCRIPT}\0"),
            format!("chomp(my $install_boot_loader = <<'EOFBOOTLOADER');\n{SCRIPT}\nEOFBOOTLOADER\n")
                .replace("');\n", "';\n"),
            format!("system(\"{SCRIPT} $out\") == 0 or exit 1;"),
        ] {
            assert_eq!(of_texts(&[("", &wrapper), (SCRIPT, install)]), expected, "{wrapper}");
        }
        let direct = "export INSTALL_BOOTLOADER='/nix/store/e-extlinux-conf-builder.sh -g 7 -t 2 -c'\n";
        assert_eq!(
            of_texts(&[("", direct)]),
            Installer::Extlinux(vec![Extlinux { generations: 7, timeout: 2, ..Extlinux::default() }])
        );
    }

    #[test]
    fn others_are_named_and_none_is_none() {
        for (value, expected) in [
            ("/nix/store/h-install-grub.sh", Installer::Other("install-grub.sh".to_owned())),
            ("/nix/store/h-coreutils-9/bin/true", Installer::None),
            ("", Installer::None),
            (
                "/nix/store/h-nixos-generations-builder.sh -g 6 -f /boot/fw -c",
                Installer::RaspberryPi(RaspberryPi {
                    generations: 6,
                    firmware: "/boot/fw".to_owned(),
                    directory: "gens".to_owned(),
                    device_trees: DeviceTrees::Kernel,
                }),
            ),
        ] {
            let wrapper = format!("export INSTALL_BOOTLOADER='{value}'\n");
            let builder = ("/nix/store/h-nixos-generations-builder.sh", "  local gensDir=\"$outdir/gens\"\n");
            assert_eq!(of_texts(&[("", &wrapper), builder]), expected);
        }
        assert_eq!(of_texts(&[("", "#!/bin/sh\n")]), Installer::None);
    }
}
