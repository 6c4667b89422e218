//! Boards are data: every profile gives an image that all judges find clean, every mistake in one is named.

use crate::common::{Tool, cut, nixflash, partitions, run, temp};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A closure with the firmware of every board.
pub struct Closure {
    /// `root/` is its store.
    pub dir: tempfile::TempDir,
    top: String,
}

impl Closure {
    pub fn make(options: &[&str]) -> Option<Self> {
        let (python, dir) = (Tool::find("python3")?, temp());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/make-demo");
        let root = dir.path().join("root");
        let arguments = [&[script, "--root", root.to_str().unwrap(), "--boards"], options].concat();
        let top = python.passes(&arguments).trim().to_owned();
        Some(Self { dir, top })
    }

    pub fn compose(&self, board: &str) -> Command {
        let mut command = nixflash();
        let store = self.dir.path().join("root");
        command.args(["-q", "compose", board, "--system", &self.top, "--store"]).arg(store);
        command
    }

    pub fn image(&self, board: &str, dir: &Path) -> PathBuf {
        let path = dir.join(format!("{board}.img"));
        let done = run(self.compose(board).arg("-o").arg(&path));
        assert_eq!((done.code, done.err.trim()), (0, ""), "{board}");
        path
    }

    /// A file of the store: the path that has `part` in its name, and `inner` below it.
    pub fn file(&self, part: &str, inner: &str) -> Vec<u8> {
        let store = self.dir.path().join("root/nix/store");
        let mut paths = std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
        let path = paths.find(|path| path.to_string_lossy().contains(part)).unwrap();
        std::fs::read(path.join(inner)).unwrap()
    }
}

fn boards() -> Vec<serde_json::Value> {
    let done = run(nixflash().args(["boards", "--json"]));
    let value: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    value["boards"].as_array().unwrap().clone()
}

/// What of a plan must not change by accident: identifiers, layout, firmware, demands on the board.
fn essence(plan: &serde_json::Value) -> String {
    let word = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let ids = &plan["identifiers"];
    let mut lines =
        vec![format!("{}: {} {}", word(&plan["board"]), word(&plan["table"]), word(&ids["disk"]))];
    for (partition, id) in
        plan["partitions"].as_array().unwrap().iter().zip(ids["partitions"].as_array().unwrap())
    {
        let len = if partition["role"] == "root" { String::new() } else { format!(" {}", partition["len"]) };
        let (role, system, label) =
            (word(&partition["role"]), word(&partition["fileSystem"]), word(&partition["label"]));
        lines.push(format!("  {role} {}{len} {system} {label} {}", partition["start"], word(id)));
    }
    lines.push(format!("  root {}, boot {}", word(&ids["rootUuid"]), word(&ids["bootVolumeId"])));
    for package in plan["firmware"].as_array().unwrap() {
        let path = word(&package[1]);
        lines.push(format!("  {} {}", word(&package[0]), path.split_once('-').unwrap().1));
    }
    lines.join("\n") + "\n"
}

#[test]
fn every_board_gives_the_recorded_plan_and_an_image_that_all_judges_find_clean() {
    let Some(arm) = Closure::make(&[]) else { return };
    let Some(pc) = Closure::make(&["--system", "x86_64-linux"]) else { return };
    let dir = temp();
    let mut plans = String::new();
    for board in boards() {
        let name = board["name"].as_str().unwrap();
        let closure = if board["system"] == "x86_64-linux" { &pc } else { &arm };
        let done = run(closure.compose(name).args(["--dry-run", "--json"]));
        assert_eq!(done.code, 0, "{name}: {}", done.err);
        let plan: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
        for required in board["requires"].as_array().unwrap() {
            assert!(
                plan["warnings"].as_array().unwrap().contains(required),
                "{name}: {required} is not said"
            );
        }
        plans.push_str(&essence(&plan));
        let path = closure.image(name, dir.path());
        judge(&path, &board);
        std::fs::remove_file(path).unwrap();
    }
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plans.txt");
    if std::env::var_os("NIXFLASH_RECORD").is_some() {
        std::fs::write(&recorded, &plans).unwrap();
    }
    assert_eq!(plans, std::fs::read_to_string(recorded).unwrap(), "record it with NIXFLASH_RECORD=1");
}

/// Has the tools of the field look at an image.
fn judge(path: &Path, board: &serde_json::Value) {
    let (text, name) = (path.to_str().unwrap(), &board["name"]);
    if let Some(sfdisk) = Tool::find("sfdisk") {
        assert!(!sfdisk.passes(&["--verify", text]).to_lowercase().contains("overlap"), "{name}");
    }
    if board["table"] == "gpt"
        && let Some(sgdisk) = Tool::find("sgdisk")
    {
        assert!(sgdisk.passes(&["-v", text]).contains("No problems found"), "{name}");
    }
    let Some(parts) = partitions(path) else { return };
    let piece = path.with_extension("part");
    for (index, part) in parts.iter().enumerate() {
        cut(path, *part, &piece);
        let (tool, option) = if index + 1 == parts.len() { ("e2fsck", "-fn") } else { ("fsck.fat", "-n") };
        if let Some(tool) = Tool::find(tool) {
            tool.passes(&[option, piece.to_str().unwrap()]);
        }
    }
    std::fs::remove_file(piece).unwrap();
}

#[test]
fn raw_boot_loaders_lie_where_the_rom_looks_and_nothing_else_does() {
    let Some(closure) = Closure::make(&[]) else { return };
    let dir = temp();
    for (board, blobs, first) in [
        ("pine64", &[(8 << 10, "uboot-pine64", "u-boot-sunxi-with-spl.bin")][..], 8 << 20),
        (
            "rockpro64",
            &[(32 << 10, "uboot-rockpro64", "idbloader.img"), (8 << 20, "uboot-rockpro64", "u-boot.itb")],
            16 << 20,
        ),
    ] {
        let image = std::fs::read(closure.image(board, dir.path())).unwrap();
        // After the table, up to the first partition: the boot loaders, and zeros.
        let mut expected = vec![0; first];
        let table = if board == "pine64" { 512 } else { 34 * 512 };
        expected[..table].copy_from_slice(&image[..table]);
        for (offset, package, file) in blobs {
            let bytes = closure.file(package, file);
            expected[*offset..*offset + bytes.len()].copy_from_slice(&bytes);
        }
        assert!(image[..first] == expected[..], "{board}");
    }
    // One that is too long for its place is refused, with both lengths.
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/boards/pine64.toml")).unwrap();
    let profile = dir.path().join("mine.toml");
    std::fs::write(&profile, text.replace("max = \"1016 KiB\"", "max = \"512 KiB\"")).unwrap();
    let mut command = nixflash();
    command.args(["compose", "--board"]).arg(&profile).args([
        "--system",
        &closure.top,
        "--dry-run",
        "--store",
    ]);
    let done = run(command.arg(closure.dir.path().join("root")));
    let expected = "u-boot-sunxi-with-spl.bin has 700000 bytes, the place of pine64 for it has 524288";
    assert!(done.code == 1 && done.err.contains(expected), "{} {}", done.code, done.err);
}

#[test]
fn raspberry_pi_cards_follow_the_rules_of_their_roms() {
    let Some(closure) = Closure::make(&[]) else { return };
    let (Some(sfdisk), Some(mdir)) = (Tool::find("sfdisk"), Tool::find("mdir")) else { return };
    let dir = temp();
    for (board, fat, files, absent) in [
        (
            "rpi3",
            "FAT16",
            &["start.elf", "fixup.dat", "bootcode.bin", "bcm2710-rpi-3-b.dtb", "u-boot-rpi3.bin"][..],
            &["bcm2711-rpi-4-b.dtb"][..],
        ),
        (
            "rpi-zero2w",
            "FAT16",
            &["start.elf", "bcm2710-rpi-zero-2-w.dtb", "u-boot-rpi3.bin"],
            &["bcm2710-rpi-3-b.dtb"],
        ),
        (
            "rpi4",
            "FAT16",
            &["start4.elf", "fixup4x.dat", "bcm2711-rpi-cm4.dtb", "u-boot-rpi4.bin"],
            &["bcm2712-rpi-5-b.dtb"],
        ),
        (
            "rpi5",
            "FAT32",
            &[
                "bcm2712-rpi-5-b.dtb",
                "bcm2712d0-rpi-5-b.dtb",
                "bcm2712-rpi-cm5-cm5io.dtb",
                "u-boot.bin",
                "overlays/dwc2.dtbo",
            ],
            &["start4.elf"],
        ),
        (
            "rpi-arm64",
            "FAT16",
            &[
                "start.elf",
                "start4.elf",
                "bcm2710-rpi-zero-2-w.dtb",
                "bcm2711-rpi-400.dtb",
                "bcm2712-rpi-500.dtb",
                "u-boot.bin",
            ],
            &["u-boot-rpi4.bin"],
        ),
    ] {
        let image = closure.image(board, dir.path());
        let text = sfdisk.passes(&["-J", image.to_str().unwrap()]);
        let table: serde_json::Value = serde_json::from_str(&text).unwrap();
        let table = &table["partitiontable"];
        assert_eq!((&table["label"], &table["id"]), (&"dos".into(), &"0x2178694e".into()), "{board}");
        let list = table["partitions"].as_array().unwrap();
        assert_eq!((&list[0]["type"], &list[0]["start"]), (&"b".into(), &16384.into()), "{board}");
        assert_eq!((&list[1]["type"], &list[1]["bootable"]), (&"83".into(), &true.into()), "{board}");
        assert!(list[0]["bootable"].is_null(), "{board}");
        let volume = format!("{}@@8M", image.display());
        let listed = mdir.passes(&["-b", "-/", "-i", &volume, "::"]);
        let has = |name: &&str| listed.lines().any(|line| line == format!("::/{name}"));
        assert!(files.iter().all(has) && !absent.iter().any(has) && has(&"config.txt"), "{board}: {listed}");
        if let Some(minfo) = Tool::find("minfo") {
            let info = minfo.passes(&["-i", &volume, "::"]);
            assert!(info.contains(&format!("disk type=\"{fat}   \"")), "{board}: {info}");
        }
        // What config.txt starts is there; the ROM's FAT is not larger than what the ROM reads.
        let config = Tool::find("mtype").unwrap().passes(&["-i", &volume, "::config.txt"]);
        for line in config.lines().filter_map(|line| line.strip_prefix("kernel=")) {
            assert!(has(&line), "{board}: {line}");
        }
        std::fs::remove_file(image).unwrap();
    }
}

#[test]
fn a_gpt_is_refused_where_the_rom_reads_an_mbr_only() {
    let fstab = "/dev/disk/by-partlabel/nixos / ext4 x-initrd.mount 0 1\n";
    let Some(closure) = Closure::make(&["--fstab", fstab]) else { return };
    for board in ["rpi3", "rpi-zero2w", "rpi-arm64"] {
        let done = run(closure.compose(board).arg("--dry-run"));
        assert!(
            done.code == 1 && done.err.contains("PARTLABEL") && done.err.contains("nixos"),
            "{board}: {}",
            done.err
        );
    }
    assert_eq!(run(closure.compose("rockpro64").arg("--dry-run")).code, 0, "a GPT has names");
}

#[test]
fn aliases_mean_their_board_and_a_near_miss_is_answered() {
    for (alias, name) in [
        ("rpi400", "rpi4"),
        ("cm4", "rpi4"),
        ("cm5", "rpi5"),
        ("rpi500", "rpi5"),
        ("orin-nano", "jetson-orin-nano"),
    ] {
        let done = run(nixflash().args(["boards", alias, "--json"]));
        let value: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
        assert_eq!(value["boards"][0]["name"], name, "{alias}");
    }
    let done = run(nixflash().args(["boards", "raspberry-pi-4"]));
    assert!(
        done.code == 2 && done.err.contains("did you mean \"rpi4\"? there are: jetson-agx-orin, "),
        "{}",
        done.err
    );
}

#[test]
fn a_profile_is_shown_with_its_sources_reasons_and_commands_in_80_columns() {
    for board in boards() {
        let name = board["name"].as_str().unwrap();
        let text = String::from_utf8(run(nixflash().args(["boards", name])).out).unwrap();
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut said: Vec<&str> = Vec::new();
        for key in ["sources", "requires", "notes", "aliases"] {
            said.extend(board[key].as_array().unwrap().iter().map(|value| value.as_str().unwrap()));
        }
        let media = board["media"].as_array().unwrap();
        assert!(!media.is_empty(), "{name} does not say which drivers find its root");
        for medium in media {
            let drivers = medium["drivers"].as_array().unwrap().iter().map(|driver| driver.as_str().unwrap());
            said.extend(drivers.flat_map(|driver| driver.split('|')).chain(medium["name"].as_str()));
        }
        for key in ["partitions", "packages", "files", "rawBootLoaders"] {
            for table in board[key].as_array().unwrap() {
                said.extend(["reason", "command", "file"].iter().filter_map(|key| table[key].as_str()));
            }
        }
        for words in said {
            assert!(flat.contains(words), "{name}: {words}");
        }
        for line in text.lines().filter(|line| line.contains(' ') && !line.contains("nix build")) {
            assert!(line.chars().count() <= 80 || !line.trim().contains(' '), "{name}: {line}");
        }
    }
}

#[test]
fn config_txt_is_added_to_as_lines_and_files_for_all_models() {
    let Some(closure) = Closure::make(&[]) else { return };
    let Some(mtype) = Tool::find("mtype") else { return };
    let dir = temp();
    let file = dir.path().join("more.txt");
    std::fs::write(&file, "dtoverlay=vc4-kms-v3d\n[pi4]\narm_freq=1800\n").unwrap();
    let image = dir.path().join("a.img");
    let mut command = closure.compose("rpi-arm64");
    command.arg("-o").arg(&image).args(["--config-txt", "gpu_mem=16", "--config-txt"]).arg(&file);
    let done = run(command.args(["--config-txt", "dtparam=audio=on"]));
    assert_eq!(done.code, 0, "{}", done.err);
    let text = mtype.passes(&["-i", &format!("{}@@8M", image.display()), "::config.txt"]);
    let end = "enable_uart=0\n\n[all]\ngpu_mem=16\n\n[all]\ndtoverlay=vc4-kms-v3d\n[pi4]\narm_freq=1800\n\n[all]\ndtparam=audio=on\n";
    assert!(text.ends_with(end), "{text}");
    let done = run(closure.compose("rpi4").args(["--dry-run", "--config-txt", "nowhere.txt"]));
    assert!(done.code == 1 && done.err.contains("cannot read --config-txt nowhere.txt"), "{}", done.err);
    let done = run(closure.compose("pine64").args(["--dry-run", "--config-txt", "a=b"]));
    assert!(done.code == 2 && done.err.contains("--config-txt: pine64 has no config.txt"), "{}", done.err);
}

/// A good profile; its mistakes are made by replacing one piece of it.
const GOOD: &str = r#"name = "mine"
aliases = ["my-board"]
title = "My board"
system = "aarch64-linux"
sources = ["its manual"]
config_txt = """
kernel=u-boot.bin
"""

[table]
kind = "mbr"
disk_id = "12345678"

[boot]
loader = "extlinux"

[[partition]]
role = "firmware"
start = "8 MiB"
size = "64 MiB"
type = "0c"
label = "BOOT"
volume_id = "12345678"

[[partition]]
role = "root"
start = "72 MiB"
type = "83"
active = true
label = "ROOT"

[package.uboot]
names = ["uboot-*"]
needs = ["u-boot.bin"]
command = "make u-boot"

[[raw]]
package = "uboot"
file = "spl.bin"
offset = "8 KiB"
max = "512 KiB"

[[raw]]
package = "uboot"
file = "u-boot.img"
offset = "1 MiB"
max = "1 MiB"

[[file]]
package = "uboot"
from = ["u-boot.bin"]
to = "/u-boot.bin"
"#;

#[test]
fn each_mistake_in_a_profile_is_named_with_file_line_and_key() {
    assert!(nixflash::board::parse("mine.toml", GOOD).is_ok());
    let gpt = "kind = \"gpt\"";
    let mut wrong: Vec<String> = Vec::new();
    for (from, to, expected) in [
        ("name = \"mine\"", "name = \"My Board\"", "1: name: \"My Board\": must be 1 to 40 of a-z 0-9 - _"),
        ("my-board", "my board", "2: aliases: \"my board\": must be 1 to 40 of a-z 0-9 - _"),
        (
            "title = ",
            "titel = ",
            "3: titel: unknown field `titel`, expected one of `name`, `aliases`, `title`, `system`, `sources`, `requires`, `notes`, `table`, `boot`, `partition`, `medium`, `package`, `raw`, `file`, `config_txt`",
        ),
        ("title = \"My board\"\n", "", "1: missing field `title`"),
        (
            "aarch64-linux",
            "arm64",
            "4: system: \"arm64\": must be one of aarch64-linux, x86_64-linux, armv7l-linux, riscv64-linux",
        ),
        ("[\"its manual\"]", "[]", "5: sources: must name where the facts are from, at least once"),
        (
            "[\"its manual\"]",
            "\"its manual\"",
            "5: sources: invalid type: string \"its manual\", expected a sequence",
        ),
        (
            "kernel=u-boot.bin",
            "kernel=kernel8.img",
            "6: config_txt: \"kernel=kernel8.img\": no [[file]] puts \"kernel8.img\" on the FAT",
        ),
        (
            "kernel=u-boot.bin",
            "dtoverlay=gänsefüßchen",
            "6: config_txt: \"dtoverlay=gänsefüßchen\": a line is at most 98 printable ASCII characters",
        ),
        (
            "kind = \"mbr\"",
            "kind = \"dos\"",
            "11: table.kind: unknown variant `dos`, expected `mbr` or `gpt`",
        ),
        ("kind = \"mbr\"", gpt, "12: table.disk_id: a GPT has no disk id of 32 bits: leave it out"),
        ("12345678", "1234567", "12: table.disk_id: \"1234567\": must be 8 hexadecimal digits"),
        (
            "loader = \"extlinux\"",
            "loader = \"grub\"",
            "15: boot.loader: unknown variant `grub`, expected one of `extlinux`, `systemd-boot`, `raspberry-pi`",
        ),
        (
            "loader = \"extlinux\"",
            "loader = \"systemd-boot\"",
            "15: boot.loader: systemd-boot needs a partition with the role \"esp\"",
        ),
        (
            "role = \"firmware\"",
            "role = \"swap\"",
            "18: partition 1: role: unknown variant `swap`, expected one of `firmware`, `esp`, `root`",
        ),
        (
            "role = \"firmware\"\nstart = \"8 MiB\"\nsize = \"64 MiB\"",
            "role = \"root\"\nstart = \"8 MiB\"",
            "22: partition 1: volume_id: ext4 has none: leave it out",
        ),
        (
            "start = \"8 MiB\"",
            "start = \"8 MB\"",
            "19: partition 1: start: \"8 MB\": must be a whole number of MiB with its unit, such as \"128 MiB\"",
        ),
        (
            "size = \"64 MiB\"",
            "size = 64",
            "20: partition 1: size: invalid type: integer `64`, expected a string",
        ),
        ("size = \"64 MiB\"", "size = \"1 MiB\"", "20: partition 1: size: 1 MiB: must be 4 MiB to 1 TiB"),
        ("size = \"64 MiB\"\n", "", "17: partition 1: size: missing; a length such as \"128 MiB\""),
        (
            "type = \"0c\"",
            "type = \"c\"",
            "21: partition 1: type: \"c\": must be two hexadecimal digits, as in \"0b\"",
        ),
        (
            "label = \"BOOT\"",
            "label = \"BOOT.1\"",
            "22: partition 1: label: the label \"BOOT.1\" is not at most 11 of A-Z a-z 0-9 space ! # $ % & ' ( ) - @ ^ _ ` { } ~, the first no space",
        ),
        (
            "type = \"83\"",
            "type = \"83\"\nname = \"nixos\"",
            "29: partition 2: name: an MBR has no partition names: leave it out",
        ),
        (
            "type = \"0c\"",
            "type = \"0c\"\nactive = true",
            "30: partition 2: active: an MBR has one active partition at most",
        ),
        (
            "start = \"72 MiB\"",
            "start = \"64 MiB\"",
            "27: partition 2: start: 64 MiB overlaps what ends at 72 MiB",
        ),
        (
            "start = \"72 MiB\"",
            "start = \"72 MiB\"\nsize = \"1 GiB\"",
            "28: partition 2: size: the root has no size: it takes what it needs or all that is left",
        ),
        (
            "label = \"ROOT\"",
            "label = \"A ROOT OF MY BOARD\"",
            "30: partition 2: label: \"A ROOT OF MY BOARD\": must be 1 to 16 printable ASCII characters",
        ),
        (
            "names = [\"uboot-*\"]",
            "names = []",
            "33: package.uboot.names: must have an entry, and none that is empty",
        ),
        (
            "command = \"make u-boot\"",
            "command = \"\"",
            "35: package.uboot.command: must be the command that makes the package",
        ),
        (
            "[package.uboot]",
            "[package.other]\nnames = [\"a\"]\nneeds = [\"a\"]\ncommand = \"a\"\n[package.uboot]",
            "32: package.other: no [[file]] and no [[raw]] takes anything from it",
        ),
        (
            "[[raw]]\npackage = \"uboot\"",
            "[[raw]]\npackage = \"u-boot\"",
            "38: raw 1: package: \"u-boot\": must be one of uboot",
        ),
        (
            "file = \"spl.bin\"",
            "file = \"../spl.bin\"",
            "39: raw 1: file: \"../spl.bin\": must be one file, relative to the package's directory",
        ),
        (
            "offset = \"8 KiB\"",
            "offset = \"256\"",
            "40: raw 1: offset: \"256\": must be a multiple of 512 bytes with its unit, such as \"32 KiB\"",
        ),
        ("kind = \"mbr\"\ndisk_id = \"12345678\"", gpt, "20: partition 1: type: \"0c\": must be a GUID"),
        ("max = \"512 KiB\"", "max = \"2 MiB\"", "46: raw 2: offset: 1 MiB overlaps what ends at 2.0 MiB"),
        (
            "max = \"1 MiB\"",
            "max = \"8 MiB\"",
            "47: raw 2: max: ends at 9 MiB, the first partition begins at 8 MiB",
        ),
        ("max = \"512 KiB\"\n", "", "37: raw 1: missing field `max`"),
        (
            "from = [\"u-boot.bin\"]",
            "from = []",
            "51: file 1: from: must have a pattern such as \"start*.elf\"",
        ),
        (
            "from = [\"u-boot.bin\"]",
            "from = [\"*.bin\"]",
            "52: file 1: to: \"/u-boot.bin\": what a pattern finds needs a directory, with a slash at its end",
        ),
        (
            "from = [\"u-boot.bin\"]",
            "from = [\"/u-boot.bin\"]",
            "51: file 1: from: \"/u-boot.bin\": must be a pattern relative to the package's directory",
        ),
        (
            "to = \"/u-boot.bin\"",
            "to = \"../u-boot.bin\"",
            "52: file 1: to: \"../u-boot.bin\": must be an absolute path, with a slash at its end for a directory",
        ),
        ("[table]", "[table", "10: unclosed table, expected `]`"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from} is not in the profile");
        let message = nixflash::board::parse("mine.toml", &text).unwrap_err().to_string();
        if message != format!("mine.toml:{expected}") {
            wrong.push(format!("{from} -> {to}\n  expected {expected}\n  found    {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The same reaches the user, as usage.
    let dir = temp();
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, GOOD.replacen("aarch64-linux", "arm64", 1)).unwrap();
    let done = run(nixflash().args(["boards", "--board"]).arg(&file));
    assert!(done.code == 2 && done.err.contains("mine.toml:4: system: "), "{} {}", done.code, done.err);
}

#[test]
fn a_raw_boot_loader_stays_clear_of_a_gpt() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/boards/rockpro64.toml")).unwrap();
    let text = text.replacen("offset = \"32 KiB\"", "offset = \"8 KiB\"", 1);
    let error = nixflash::board::parse("a.toml", &text).unwrap_err().to_string();
    assert!(
        error.ends_with("raw 1: offset: 8 KiB is within the GPT, which takes the first 17 KiB"),
        "{error}"
    );
}
