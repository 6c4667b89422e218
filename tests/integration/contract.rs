//! The contract between a system and a board: what is demanded is met or refused by name, and the boot loader's files
//! are those that the system's own builder writes.

use crate::common::{Tool, cut, is_root, nixflash, partitions, run, sha256, temp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A system made by `tests/fixtures/make-system`.
struct System {
    dir: tempfile::TempDir,
    top: String,
    older: Vec<String>,
}

impl System {
    /// Makes one; `None`, having said so, without python3 or zstd.
    fn new(spec: &Value) -> Option<Self> {
        let (python, _zstd) = (Tool::find("python3")?, Tool::find("zstd")?);
        let dir = temp();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/make-system");
        let root = dir.path().join("root");
        let made = python.passes(&[script, root.to_str().unwrap(), &spec.to_string()]);
        let made: Value = serde_json::from_str(&made).unwrap();
        let older = made["older"].as_array().unwrap().iter().map(|top| top.as_str().unwrap().to_owned());
        Some(Self { top: made["top"].as_str().unwrap().to_owned(), older: older.collect(), dir })
    }

    fn command(&self, word: &str, board: &str) -> Command {
        let mut command = nixflash();
        let root = self.dir.path().join("root");
        command.args([word, board, "--system", &self.top, "--store", root.to_str().unwrap()]);
        for older in &self.older {
            command.args(["--generation", older]);
        }
        command
    }

    /// What `nixflash check` finds: its exit status, and verdicts with messages and origins as text.
    fn check(&self, board: &str) -> (i32, Vec<(String, String)>) {
        let done = run(self.command("check", board).arg("--json"));
        let report: Value = serde_json::from_slice(&done.out).unwrap_or_else(|e| panic!("{e}: {}", done.err));
        assert_eq!(report["schema"], "nixflash-check/1");
        let text = |finding: &Value| {
            let place = |origin: &Value| {
                let line = origin["line"].as_u64().map(|line| format!(" line {line}")).unwrap_or_default();
                let words = origin["text"].as_str().map(|text| format!(": {text}")).unwrap_or_default();
                format!("{}{line}{words}", origin["file"].as_str().unwrap_or_default())
            };
            let against = finding.get("against").map(|origin| format!(" against {}", place(origin)));
            let (message, origin) = (finding["message"].as_str().unwrap(), place(&finding["origin"]));
            let text = format!("{message} ({origin}){}", against.unwrap_or_default());
            (finding["verdict"].as_str().unwrap().to_owned(), text)
        };
        (done.code, report["findings"].as_array().unwrap().iter().map(text).collect())
    }

    fn image(&self, board: &str, arguments: &[&str]) -> PathBuf {
        let path = self.dir.path().join("card.img");
        let mut command = self.command("compose", board);
        let done = run(command.args(["-q", "--force", "-o"]).arg(&path).args(arguments));
        assert_eq!(done.code, 0, "{board}: {}", done.err);
        path
    }
}

const ROOT: &str = "/dev/disk/by-label/NIXOS_SD / ext4 x-initrd.mount 0 1\n";

#[test]
fn an_ordinary_system_meets_every_board_of_its_platform() {
    let Some(system) = System::new(&json!({})) else { return };
    for board in ["rpi4", "rpi3"] {
        let (code, found) = system.check(board);
        assert_eq!(code, 0, "{found:?}");
        assert!(found.iter().any(|(verdict, text)| verdict == "met"
            && text == "the ext4 is mounted at / (etc/fstab line 1: /dev/disk/by-label/NIXOS_SD / ext4)"));
        assert!(
            found.iter().any(|(verdict, text)| verdict == "met" && text.contains("extlinux.conf")),
            "{found:?}"
        );
    }
    let done = run(&mut system.command("check", "rpi4"));
    let text = String::from_utf8(done.out).unwrap();
    assert!(text.contains("met      the ext4 is mounted at /\n         etc/fstab line 1: "), "{text}");
    assert!(text.contains("warning  nothing in the system grows its root"), "{text}");
}

/// Systems with one thing in them that a board cannot give: the specification, the board, the finding.
fn impossible() -> Vec<(Value, &'static str, &'static str)> {
    let fstab = |text: &str| json!({ "fstab": text });
    let over = |line: &str| json!({ "fstab": format!("{ROOT}{line}\n") });
    vec![
        (
            over("tmpfs /nix tmpfs x-initrd.mount 0 0"),
            "rpi4",
            "what is mounted here hides the store of the card",
        ),
        (
            over("/persist/nix /nix none x-initrd.mount,bind 0 0"),
            "rpi4",
            "it looks for its store in /persist/nix/store, and nixflash puts it into /nix/store",
        ),
        (
            fstab("LABEL=a / ext4 X-mount.subdir=root 0 1\n"),
            "rpi4",
            "X-mount.subdir makes a directory the root",
        ),
        (
            fstab("/dev/disk/by-label/A\\040B / ext4 x-initrd.mount 0 1\n"),
            "rpi4",
            "udev makes a link A\\x20B, and never one A B",
        ),
        (
            fstab("/dev/sda2 / btrfs subvol=root 0 0\n"),
            "rpi4",
            "nixflash makes ext4, the system mounts btrfs (etc/fstab line 1: /dev/sda2 / btrfs)",
        ),
        (
            fstab("# a\nrpool/root / zfs zfsutil 0 0\n"),
            "rpi4",
            "the system mounts zfs (etc/fstab line 2: rpool/root / zfs)",
        ),
        (fstab("LABEL=x / f2fs defaults\n"), "uefi-aarch64", "the system mounts f2fs"),
        (fstab("/dev/mapper/luks / ext4 defaults\n"), "rpi4", "it needs the mapped device /dev/mapper/luks"),
        (fstab("tmpfs / tmpfs mode=755\n"), "rpi4", "its root is in memory, and no ext4 is mounted at /nix"),
        (
            fstab("tmpfs / tmpfs mode=755\nLABEL=x /nix btrfs subvol=nix\n"),
            "rpi4",
            "the system mounts btrfs (etc/fstab line 2",
        ),
        (
            fstab(&format!("{ROOT}LABEL=store /nix ext4 defaults\n")),
            "rpi4",
            "one partition for the root and the store (etc/fstab line 2: LABEL=store /nix ext4)",
        ),
        (
            fstab("PARTLABEL=disk-main-root / ext4 defaults\n"),
            "rpi4",
            "it demands the PARTLABEL \"disk-main-root\": this board has an MBR",
        ),
        (
            fstab("PARTUUID=0fc63daf-8483-4772-8e79-3d69d8477de4 / ext4 defaults\n"),
            "rpi3",
            "partition 2 in an MBR on this board cannot have it",
        ),
        (
            fstab("PARTUUID=2178694e-02 / ext4 defaults\n"),
            "uefi-aarch64",
            "partition 2 in a GPT on this board cannot have it",
        ),
        (
            fstab("LABEL=a-label-too-long-for-ext4 / ext4 defaults\n"),
            "rpi4",
            "an ext4 has one of 1 to 16 bytes",
        ),
        (fstab("UUID=ABCD-1234 / ext4 defaults\n"), "rpi4", "an ext4 cannot have it"),
        (
            fstab(&format!("{ROOT}UUID=44444444-4444-4444-8888-888888888888 /boot vfat defaults\n")),
            "uefi-aarch64",
            "a FAT has one like ABCD-1234",
        ),
        (
            fstab("/dev/mmcblk0p1 / ext4 defaults\n"),
            "rpi4",
            "/dev/mmcblk0p1 is partition 1; the ext4 is partition 2",
        ),
        (
            fstab("LABEL=a / ext4 defaults\n/dev/disk/by-label/x /boot ext4 defaults\n"),
            "rpi4",
            "U-Boot looks for extlinux.conf at the top of a partition of the card and in its /boot; the system keeps it elsewhere (etc/fstab line 2",
        ),
        (
            json!({ "fstab": ROOT, "params": ["root=LABEL=other"] }),
            "rpi4",
            "the label NIXOS_SD and the label other of one partition (kernel-params: root=LABEL=other)",
        ),
        (
            json!({ "fstab": "PARTUUID=cafe1234-02 / ext4 a\nPARTUUID=2178694e-01 /boot/firmware vfat a\n" }),
            "rpi4",
            "it demands the PARTUUIDs cafe1234-02 and 2178694e-01, and a card with an MBR has one disk id for all (etc/fstab line 2: PARTUUID=2178694e-01 /boot/firmware vfat) against etc/fstab line 1: PARTUUID=cafe1234-02 / ext4",
        ),
        (
            json!({ "fstab": "PARTUUID=cafe1234-02 / ext4 a\n", "params": ["root=PARTUUID=2178694e-02"] }),
            "rpi4",
            "it demands the PARTUUID cafe1234-02 and the PARTUUID 2178694e-02 of one partition (kernel-params: root=PARTUUID=2178694e-02) against etc/fstab line 1: PARTUUID=cafe1234-02 / ext4",
        ),
        (
            json!({ "fstab": "LABEL=ONE / ext4 a\nLABEL=ONE /boot vfat a\n" }),
            "uefi-aarch64",
            "it demands the label ONE of two partitions, the ext4 and the FAT (etc/fstab line 2: LABEL=ONE /boot vfat) against etc/fstab line 1: LABEL=ONE / ext4",
        ),
        (
            json!({ "fstab": format!("{ROOT}UUID=AAAA-0001 /boot vfat a\nUUID=AAAA-0002 /efi vfat a\n") }),
            "uefi-aarch64",
            "it demands the UUID AAAA-0001 and the UUID AAAA-0002 of one partition (etc/fstab line 3: UUID=AAAA-0002 /efi vfat) against etc/fstab line 2: UUID=AAAA-0001 /boot vfat",
        ),
        (
            json!({ "fstab": "tmpfs / tmpfs a\nLABEL=x /nix ext4 a\n", "initrd_fstab": "LABEL=x / ext4 a\n" }),
            "uefi-aarch64",
            "/ is on the ext4 by one line and in memory by another (initrd-fstab in its initrd line 1: LABEL=x / ext4) against etc/fstab line 1: tmpfs / tmpfs",
        ),
        (
            fstab(&format!("{ROOT}UUID=+BCD-1234 /boot vfat a\n")),
            "uefi-aarch64",
            "it demands the UUID \"+BCD-1234\": a FAT has one like ABCD-1234",
        ),
        (
            fstab("UUID=44444444444444448888888888888888 / ext4 a\n"),
            "rpi4",
            "it demands the UUID \"44444444444444448888888888888888\": an ext4 cannot have it",
        ),
        (
            json!({ "params": ["root=gpt-auto"] }),
            "rpi3",
            "it looks for its root by the type in a GPT; this board has an MBR",
        ),
        (
            json!({ "params": ["rootfstype=btrfs"] }),
            "rpi4",
            "the kernel is to mount btrfs (kernel-params: rootfstype=btrfs)",
        ),
        (
            json!({ "params": ["init=/nowhere"] }),
            "rpi4",
            "the program that the kernel is to start is not in the closure",
        ),
        (
            json!({ "system": "x86_64-linux" }),
            "rpi4",
            "it is built for x86_64-linux, the board is aarch64-linux (system)",
        ),
        (
            json!({ "secrets": "#!/bin/sh\ncp -a /etc/key \"$tmp/key\"\n", "install": null }),
            "rpi4",
            "its initrd takes secrets from the machine that installs it",
        ),
        (
            json!({ "install": "@builder@ -g 1 -t 5 -n rockchip/x.dtb -d '/boot' -c \"$@\"" }),
            "rpi4",
            "its dtbs have not the device tree that it names, and U-Boot starts nothing without (the boot loader's builder: -n rockchip/x.dtb)",
        ),
        (
            json!({ "install": "@builder@ -g 1 -t 5 -d '/srv/boot' -c \"$@\"" }),
            "rpi4",
            "the system keeps it elsewhere",
        ),
        (
            json!({ "initrd_fstab": "LABEL=other / ext4 defaults\n" }),
            "rpi4",
            "the label NIXOS_SD and the label other of one partition (initrd-fstab in its initrd line 1: LABEL=other / ext4)",
        ),
        (
            json!({ "initrd_fsinfo": "/\nLABEL=x\nbtrfs\ndefaults\n" }),
            "rpi4",
            "the system mounts btrfs (initrd-fsinfo in its initrd line 1",
        ),
        (
            json!({ "params": ["init=/x"], "extensions": { "org.nixos.nixos-init.v1": {} } }),
            "rpi4",
            "nixos-init demands exactly one init=",
        ),
    ]
}

#[test]
fn what_a_board_cannot_give_is_refused_by_check_and_compose_with_its_line() {
    for (spec, board, expected) in impossible() {
        let Some(system) = System::new(&spec) else { return };
        let (code, found) = system.check(board);
        let refused = |(verdict, text): &(String, String)| verdict == "refused" && text.contains(expected);
        assert_eq!(code, 1, "{spec}: {found:?}");
        assert!(found.iter().any(refused), "{spec}: {found:#?}");
        let done = run(system.command("compose", board).arg("--dry-run"));
        assert_eq!((done.code, done.out.is_empty()), (1, true), "{spec}: {}", done.err);
        assert!(done.err.contains(&format!("cannot run on {board}: ")), "{spec}: {}", done.err);
        let message = expected.split(" (").next().unwrap();
        assert!(done.err.contains(message), "{spec}: {}", done.err);
    }
}

#[test]
fn every_refusal_is_said_not_only_the_first() {
    let spec =
        json!({ "fstab": "/dev/sda2 / btrfs a\n", "system": "riscv64-linux", "params": ["root=gpt-auto"] });
    let Some(system) = System::new(&spec) else { return };
    let (_, found) = system.check("rpi4");
    assert_eq!(found.iter().filter(|(verdict, _)| verdict == "refused").count(), 3, "{found:#?}");
    let done = run(system.command("compose", "rpi4").arg("--dry-run"));
    for part in ["riscv64-linux", "btrfs", "gpt-auto"] {
        assert!(done.err.contains(part), "{}", done.err);
    }
}

#[test]
fn what_may_go_wrong_is_a_warning() {
    let boot = format!("{ROOT}/dev/disk/by-label/ESP /efi vfat defaults 0 2\n");
    for (spec, board, expected) in [
        (
            json!({ "modules": ["ext4"] }),
            "rpi4",
            "neither the initrd nor the kernel has every driver: SD card needs mmc_block",
        ),
        (
            json!({ "dtbs": ["rockchip/rk3399.dtb"] }),
            "rpi4",
            "it has no device tree of the board (broadcom/bcm2711-*.dtb",
        ),
        (json!({ "initrd": "noise" }), "rpi4", "its initrd cannot be read, so its drivers are not checked"),
        (
            json!({ "install": "=/nix/store/00000000000000000000000000000000-install-grub.sh" }),
            "rpi4",
            "the system keeps install-grub.sh, the board starts with U-Boot",
        ),
        (json!({ "install": null }), "rpi4", "the system keeps no boot loader"),
        (
            json!({}),
            "uefi-aarch64",
            "the system keeps extlinux.conf for U-Boot, the board starts with systemd-boot",
        ),
        (json!({}), "uefi-aarch64", "etc/fstab mounts no EFI system partition"),
        (
            json!({ "fstab": "/dev/mmcblk0p2 / ext4 a\n" }),
            "rpi4",
            "/dev/mmcblk0p2 depends on the order in which disks are found",
        ),
        (
            json!({ "fstab": "/dev/mmcblk0p2 / ext4 a\n", "params": ["root=/dev/sda2"] }),
            "rpi4",
            "two lines name two disks, and this is one card: one of them will not be found (kernel-params: root=/dev/sda2) against etc/fstab line 1: /dev/mmcblk0p2 / ext4",
        ),
        (
            json!({ "fstab": format!("{ROOT}LABEL=a-long-label /boot/firmware vfat nofail\n") }),
            "rpi4",
            "it demands the label \"a-long-label\": a FAT cannot have it (etc/fstab line 2",
        ),
        (
            json!({ "fstab": format!("{ROOT}LABEL=MAY /boot/firmware vfat nofail\nLABEL=MUST /boot vfat a\n") }),
            "rpi4",
            "it demands the label MUST and the label MAY of one partition (etc/fstab line 2: LABEL=MAY /boot/firmware vfat) against etc/fstab line 3: LABEL=MUST /boot vfat",
        ),
        (
            json!({ "fstab": format!("{ROOT}LABEL=data /srv ext4 defaults\n") }),
            "rpi4",
            "/srv is not on this card: without another disk that has it the boot stops (etc/fstab line 2",
        ),
        (
            json!({ "fstab": format!("{ROOT}/dev/sda3 none swap defaults\n") }),
            "rpi4",
            "it swaps to a partition that this card has not",
        ),
        (
            json!({ "fstab": "UUID=44444444-4444-4444-8888-88888888888A / ext4 a\n" }),
            "rpi4",
            "udev writes 44444444-4444-4444-8888-88888888888a",
        ),
        (
            json!({ "specialisations": { "x": { "fstab": "/dev/sda1 / xfs a\n" } } }),
            "rpi4",
            "the specialisation x will not start: nixflash makes ext4, the system mounts xfs",
        ),
        (
            json!({ "older": [{ "system": "x86_64-linux" }] }),
            "rpi4",
            "generation 1 will not start: it is built for x86_64-linux",
        ),
        (json!({ "fstab": boot }), "uefi-aarch64", "the system keeps extlinux.conf"),
    ] {
        let Some(system) = System::new(&spec) else { return };
        let (code, found) = system.check(board);
        assert_eq!(code, 0, "{spec}: {found:#?}");
        let warned = |(verdict, text): &(String, String)| verdict == "warning" && text.contains(expected);
        assert!(found.iter().any(warned), "{spec}: {found:#?}");
    }
}

#[test]
fn what_is_harmless_is_not_warned_of() {
    let quiet = format!(
        "{ROOT}tmpfs /tmp tmpfs size=1G\nLABEL=data /srv ext4 nofail\nserver:/x /mnt nfs defaults\n/a /b none bind\n/swapfile none swap defaults\n"
    );
    for spec in [
        json!({ "fstab": quiet }),
        json!({ "modules": ["ext4"], "builtin": ["mmc/core/mmc_block", "mmc/host/sdhci-iproc", "regulator/gpio-regulator"] }),
        json!({ "pack": "xz", "early": true }),
        json!({ "pack": "gzip" }),
        json!({ "pack": "none", "early": true }),
        json!({ "secrets": "#!/bin/sh\nset -e\nexit 0\ncat x\n" }),
        json!({ "initrd_fstab": "LABEL=NIXOS_SD /sysroot ext4 a\n" }),
    ] {
        let Some(system) = System::new(&spec) else { return };
        let (code, found) = system.check("rpi4");
        assert_eq!(code, 0, "{spec}: {found:#?}");
        let loud: Vec<_> = found
            .iter()
            .filter(|(verdict, text)| verdict != "met" && !text.contains("grows its root"))
            .collect();
        assert!(loud.is_empty(), "{spec}: {loud:#?}");
        assert!(
            found.iter().any(|(_, text)| text.contains("it has drivers for SD card")),
            "{spec}: {found:#?}"
        );
    }
}

/// A partition of an image, cut out.
fn part(image: &Path, at: usize) -> Option<PathBuf> {
    let path = image.with_extension(format!("part{at}"));
    cut(image, *partitions(image)?.get(at).unwrap(), &path);
    Some(path)
}

/// The root partition copied into a directory by debugfs.
fn dumped(image: &Path) -> Option<tempfile::TempDir> {
    let (debugfs, root) = (Tool::find("debugfs")?, part(image, 1)?);
    let dir = temp();
    debugfs.passes(&["-R", &format!("rdump / {}", dir.path().display()), root.to_str().unwrap()]);
    Some(dir)
}

/// Every file below a directory: kind, mode and contents.
fn snapshot(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        use std::os::unix::fs::PermissionsExt;
        for entry in std::fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            let (path, data) = (entry.path(), entry.metadata().unwrap());
            let mode = data.permissions().mode();
            let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
            let what = match data.file_type() {
                kind if kind.is_dir() => {
                    open.push(path);
                    format!("{mode:o}")
                }
                kind if kind.is_symlink() => format!("-> {}", std::fs::read_link(&path).unwrap().display()),
                _ => format!("{mode:o} {}", sha256(&path)),
            };
            found.insert(name, what);
        }
    }
    found
}

#[test]
fn the_extlinux_builder_run_on_the_composed_root_changes_no_file() {
    if !is_root() {
        return;
    }
    let (Some(_), Some(_)) = (Tool::find("unshare"), Tool::find("chroot")) else { return };
    for flags in ["-g 20 -t 5", "-g 0 -t 0", "-g 1 -t -1 -r", "-g 20 -t 7 -n broadcom/bcm2711-rpi-4-b.dtb"] {
        let spec = json!({
            "install": format!("@builder@ {flags} -d '/boot' -c \"$@\""),
            "specialisations": { "10-x": { "version": "25.11.x", "params": ["quiet"] }, "9-y": {}, "a": {}, "B": {} },
            "older": [{ "version": "25.05" }, { "version": "25.08", "dtbs": null }],
        });
        let Some(system) = System::new(&spec) else { return };
        let Some(root) = dumped(&system.image("rpi4", &[])) else { return };
        let before = snapshot(&root.path().join("boot"));
        let conf = std::fs::read_to_string(root.path().join("boot/extlinux/extlinux.conf")).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/extlinux-builder");
        std::fs::copy(script, root.path().join("builder")).unwrap();
        // The root has no programs of this machine: those are lent to it, in a mount namespace of its own.
        let run_in = "set -e; cd \"$1\"; shift; for d in usr bin lib lib64; do [ -e /$d ] || continue; mkdir -p $d; mount --bind /$d $d; done; \
            chroot . /bin/bash /builder \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", run_in, "sh"]).arg(root.path());
        command.args(flags.split(' ')).args(["-d", "/boot", "-c", &system.top]).env("CTIME", "1");
        let done = run(&mut command);
        assert_eq!(done.code, 0, "{flags}: {}", done.err);
        let after = std::fs::read_to_string(root.path().join("boot/extlinux/extlinux.conf")).unwrap();
        assert_eq!(after, conf, "{flags}");
        assert_eq!(snapshot(&root.path().join("boot")), before, "{flags}");
        assert_eq!(conf.contains("LABEL nixos-3-10-x"), !flags.contains("-g 0"), "{flags}: {conf}");
    }
}

#[test]
fn generations_are_links_of_the_profile_and_the_newest_is_booted() {
    let spec = json!({ "older": [{ "version": "1" }, { "version": "2" }] });
    let Some(system) = System::new(&spec) else { return };
    let Some(root) = dumped(&system.image("rpi4", &[])) else { return };
    let link = |name: &str| {
        std::fs::read_link(root.path().join("nix/var/nix/profiles").join(name)).unwrap().display().to_string()
    };
    assert_eq!(link("system"), "system-3-link");
    assert_eq!(
        (link("system-1-link"), link("system-2-link")),
        (system.older[0].clone(), system.older[1].clone())
    );
    assert_eq!(link("system-3-link"), system.top);
    for top in system.older.iter().chain([&system.top]) {
        assert!(root.path().join(&top[1..]).join("init").exists(), "{top}");
    }
}

#[test]
fn a_root_in_memory_gets_an_ext4_of_nix() {
    let spec = json!({
        "fstab": "tmpfs / tmpfs mode=755\nLABEL=nix /nix ext4 defaults\n/dev/disk/by-label/BOOT /boot vfat defaults\n",
        "install": null,
    });
    let Some(system) = System::new(&spec) else { return };
    let (code, found) = system.check("uefi-aarch64");
    assert_eq!(code, 0, "{found:#?}");
    assert!(
        found
            .iter()
            .any(|(verdict, text)| verdict == "warning" && text.contains("nixflash writes /nix only"))
    );
    let image = system.image("uefi-aarch64", &[]);
    let Some(root) = dumped(&image) else { return };
    let mut names: Vec<_> = std::fs::read_dir(root.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["lost+found", "store", "var"]);
    assert!(root.path().join("store").join(&system.top["/nix/store/".len()..]).join("init").exists());
    assert!(root.path().join("var/nix/db/db.sqlite").exists());
    let (Some(e2fsck), Some(ext4)) = (Tool::find("e2fsck"), part(&image, 1)) else { return };
    e2fsck.passes(&["-fn", ext4.to_str().unwrap()]);
}

#[test]
fn extlinux_lies_on_the_fat_where_that_is_mounted_at_boot() {
    let fstab = format!("{ROOT}/dev/disk/by-label/BOOT /boot vfat defaults 0 2\n");
    let Some(system) = System::new(&json!({ "fstab": fstab })) else { return };
    let image = system.image("rpi4", &[]);
    let (Some(mdir), Some(sfdisk), Some(fat)) = (Tool::find("mdir"), Tool::find("sfdisk"), part(&image, 0))
    else {
        return;
    };
    let listing = mdir.passes(&["-b", "-/", "-i", fat.to_str().unwrap(), "::/"]);
    assert!(listing.contains("::/extlinux/extlinux.conf") && listing.contains("::/nixos/"), "{listing}");
    let table: Value = serde_json::from_str(&sfdisk.passes(&["-J", image.to_str().unwrap()])).unwrap();
    let active: Vec<bool> = table["partitiontable"]["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|partition| partition["bootable"].as_bool().unwrap_or(false))
        .collect();
    assert_eq!(active, [true, false], "U-Boot looks on the active partition");
    let Some(root) = dumped(&image) else { return };
    assert!(!root.path().join("boot/extlinux").exists());
}

#[test]
fn identifiers_that_are_demanded_are_on_the_card() {
    for (spec, board, program, partition, expected) in [
        (
            "UUID=0b5e1f2a-11aa-4bbb-8ccc-123456789abc",
            "rpi4",
            "dumpe2fs",
            1,
            "0b5e1f2a-11aa-4bbb-8ccc-123456789abc",
        ),
        ("LABEL=my-root", "rpi4", "dumpe2fs", 1, "my-root"),
        ("PARTUUID=cafe1234-02", "rpi4", "sfdisk", 0, "0xcafe1234"),
        ("PARTLABEL=disk-main-root", "uefi-aarch64", "sfdisk", 0, "disk-main-root"),
        (
            "PARTUUID=6b5e1f2a-11aa-4bbb-8ccc-123456789abc",
            "uefi-aarch64",
            "sfdisk",
            0,
            "6B5E1F2A-11AA-4BBB-8CCC-123456789ABC",
        ),
    ] {
        for seed in [&[][..], &["--id-seed", "two"]] {
            let Some(system) = System::new(&json!({ "fstab": format!("{spec} / ext4 defaults\n") })) else {
                return;
            };
            let image = system.image(board, seed);
            let Some(tool) = Tool::find(program) else { return };
            let text = match program {
                "sfdisk" => tool.passes(&["-J", image.to_str().unwrap()]),
                _ => match part(&image, partition) {
                    Some(root) => tool.passes(&["-h", root.to_str().unwrap()]),
                    None => return,
                },
            };
            assert!(text.contains(expected), "{spec}: {text}");
        }
    }
}

#[test]
fn what_nobody_demands_steps_aside_for_what_is_demanded_of_another_partition() {
    for (fstab, board, root, boot) in [
        ("LABEL=FIRMWARE / ext4 a\n", "rpi4", "FIRMWARE", "NIXOS_BOOT"),
        (
            "UUID=44444444-4444-4444-8888-888888888888 / ext4 a\nLABEL=NIXOS_SD /boot/firmware vfat nofail\n",
            "rpi4",
            "NIXOS_ROOT",
            "NIXOS_SD",
        ),
        ("PARTLABEL=ESP / ext4 a\n", "uefi-aarch64", "ESP", "nixos-boot"),
        ("PARTLABEL=r / ext4 a\nPARTLABEL=nixos /boot vfat a\n", "uefi-aarch64", "r", "nixos"),
    ] {
        let Some(system) = System::new(&json!({ "fstab": fstab })) else { return };
        let image = system.image(board, &[]);
        let (Some(sfdisk), Some(blkid)) = (Tool::find("sfdisk"), Tool::find("blkid")) else { return };
        let found = if fstab.contains("PARTLABEL") {
            let table: Value =
                serde_json::from_str(&sfdisk.passes(&["-J", image.to_str().unwrap()])).unwrap();
            [1, 0].map(|at| table["partitiontable"]["partitions"][at]["name"].as_str().unwrap().to_owned())
        } else {
            let label = |at| {
                let part = part(&image, at).unwrap();
                blkid.passes(&["-p", "-o", "value", "-s", "LABEL", part.to_str().unwrap()]).trim().to_owned()
            };
            [label(1), label(0)]
        };
        assert_eq!(found, [root, boot], "{fstab}");
    }
}

#[test]
fn another_seed_gives_other_identifiers_and_the_clash_of_labels_is_said() {
    let Some(system) = System::new(&json!({})) else { return };
    let plan = |seed: &[&str]| {
        let done = run(system.command("compose", "rpi4").args(["--dry-run", "--json"]).args(seed));
        let plan: Value = serde_json::from_slice(&done.out).unwrap_or_else(|e| panic!("{e}: {}", done.err));
        plan
    };
    let (plain, one, two) = (plan(&[]), plan(&["--id-seed", "one"]), plan(&["--id-seed", "two"]));
    assert_eq!(plan(&["--id-seed", "one"]), one);
    for key in ["disk", "rootUuid", "bootVolumeId"] {
        let of = |plan: &Value| plan["identifiers"][key].as_str().unwrap().to_owned();
        assert!(of(&one) != of(&two) && of(&plain) != of(&one), "{key}");
    }
    assert_eq!(plain["identifiers"]["disk"], "2178694e");
    let clash = |plan: &Value| plan["warnings"].to_string().contains("the label NIXOS_SD");
    assert!(clash(&one) && !clash(&plain), "{}", one["warnings"]);
}

#[test]
fn an_overlaid_etc_gets_its_mark_where_the_system_sees_it() {
    for (writable, expected) in [(true, true), (false, false)] {
        let files =
            if writable { json!({ "etc/systemd/system/rw-etc.service": "[Unit]\n" }) } else { json!({}) };
        let spec = json!({ "files": { "etc-metadata-image": "x" }, "initrd_files": files });
        let Some(system) = System::new(&spec) else { return };
        let Some(root) = dumped(&system.image("rpi4", &[])) else { return };
        assert_eq!(root.path().join(".rw-etc/upper/NIXOS").exists(), expected);
        assert!(root.path().join("etc/NIXOS").exists());
    }
}

#[test]
fn a_system_that_is_started_by_a_fixed_name_finds_it() {
    let spec = json!({ "params": ["root=PARTUUID=2178694e-02", "rootwait", "init=/sbin/init"] });
    let Some(system) = System::new(&spec) else { return };
    let Some(root) = dumped(&system.image("rpi4", &[])) else { return };
    let link = std::fs::read_link(root.path().join("sbin/init")).unwrap();
    assert_eq!(link, Path::new("/nix/var/nix/profiles/system/init"));
}

/// Text of a builder for systemd-boot, with the constants that nixflash reads.
fn builder(constants: &str) -> String {
    format!(
        "EFI_SYS_MOUNT_POINT = \"/boot\"\nBOOT_MOUNT_POINT = \"/boot\"\nNIXOS_DIR = \"/EFI/nixos\"\nDISTRO_NAME = \"NixOS\"\n{constants}\n# loader/entries sort-key\n"
    )
}

#[test]
fn systemd_boot_gets_what_the_builder_in_the_closure_would_write() {
    let fstab = "LABEL=nixos / ext4 a\n/dev/disk/by-label/ESP /boot vfat defaults 0 2\n";
    let old = "TIMEOUT = \"menu-force\"\nEDITOR = \"0\" == \"1\"\nCONSOLE_MODE = \"max\"\nCONFIGURATION_LIMIT = int(\"2\")";
    let new = "TIMEOUT = \"3\"\nEDITOR = \"1\" == \"1\"\nCONSOLE_MODE = \"keep\"\nBOOT_COUNTING_TRIES = \"3\"\nBOOT_COUNTING = \"True\" == \"True\"\n# STORE_DIR devicetree contents_hash";
    for (constants, conf) in [
        (old, "timeout menu-force\ndefault nixos-generation-3.conf\neditor 0\nconsole-mode max\n"),
        (new, "timeout 3\npreferred nixos-"),
    ] {
        let spec = json!({
            "fstab": fstab,
            "install": "@systemd-boot@/bin/systemd-boot \"$@\"",
            "scripts": { "systemd-boot": builder(constants) },
            "specialisations": { "x": {} },
            "device_tree": "broadcom/bcm2711-rpi-4-b.dtb",
            "older": [{ "version": "1" }, { "version": "2" }],
        });
        let Some(system) = System::new(&spec) else { return };
        let (code, found) = system.check("uefi-aarch64");
        assert!(
            code == 0 && found.iter().any(|(_, text)| text.contains("it keeps systemd-boot")),
            "{found:#?}"
        );
        let image = system.image("uefi-aarch64", &[]);
        let (Some(mtype), Some(mdir), Some(fat)) = (Tool::find("mtype"), Tool::find("mdir"), part(&image, 0))
        else {
            return;
        };
        let fat = fat.to_str().unwrap();
        let listing = mdir.passes(&["-b", "-i", fat, "::/loader/entries"]);
        let read = |path: &str| mtype.passes(&["-i", fat, path]);
        let loader = read("::/loader/loader.conf");
        assert!(loader.starts_with(conf), "{loader}");
        let mut entries: Vec<&str> = listing.lines().filter(|line| line.ends_with(".conf")).collect();
        entries.sort_unstable_by_key(|name| name.trim_end_matches(".conf"));
        if constants == old {
            // Two generations, each with its specialisation.
            let names = ["2", "2-specialisation-x", "3", "3-specialisation-x"];
            let expected: Vec<_> =
                names.iter().map(|name| format!("::/loader/entries/nixos-generation-{name}.conf")).collect();
            assert_eq!(entries, expected);
            assert!(!read(entries[0]).contains("devicetree"));
            continue;
        }
        assert_eq!(entries.len(), 6, "{listing}");
        for entry in entries {
            // The name is the hash of the contents, and the count of tries.
            let text = read(entry);
            let scratch = temp();
            let file = scratch.path().join("entry");
            std::fs::write(&file, &text).unwrap();
            assert_eq!(entry, format!("::/loader/entries/nixos-{}+3.conf", sha256(&file)), "{text}");
            assert!(
                text.contains("\ndevicetree /EFI/nixos/") && text.ends_with("\nsort-key nixos"),
                "{text}"
            );
        }
        let default = loader.lines().find_map(|line| line.strip_prefix("preferred ")).unwrap();
        let file = default.replace(".conf", "+3.conf");
        assert!(read(&format!("::/loader/entries/{file}")).contains("version Generation 3 "), "{default}");
    }
}

/// A FAT copied into a directory by mtools.
fn files_of(fat: &Path) -> Option<tempfile::TempDir> {
    let (mcopy, dir) = (Tool::find("mcopy")?, temp());
    let to = dir.path().to_str().unwrap();
    mcopy.passes(&["-s", "-n", "-Q", "-i", fat.to_str().unwrap(), "::/*", to]);
    Some(dir)
}

#[test]
fn the_systemd_boot_builder_run_on_the_composed_card_changes_no_file() {
    let fstab = "LABEL=nixos / ext4 a\n/dev/disk/by-label/ESP /boot vfat defaults 0 2\n";
    for (form, constants) in [
        ("directory", ""),
        ("store", "STORE_DIR = \"/nix/store\"\n# devicetree"),
        ("contents", "STORE_DIR = \"/nix/store\"\n# devicetree contents_hash"),
    ] {
        let spec = json!({
            "fstab": fstab,
            "install": "@systemd-boot@/bin/systemd-boot \"$@\"",
            "scripts": { "systemd-boot": builder(&format!("TIMEOUT = \"5\"\n{constants}")) },
            "device_tree": "broadcom/bcm2711-rpi-4-b.dtb",
            "specialisations": { "x": { "params": ["quiet"] }, "a": {} },
            "older": [{ "version": "1" }, { "version": "2" }],
        });
        let Some(system) = System::new(&spec) else { return };
        let image = system.image("uefi-aarch64", &[]);
        let (Some(root), Some(python)) = (dumped(&image), Tool::find("python3")) else { return };
        let Some(esp) = part(&image, 0).and_then(|fat| files_of(&fat)) else { return };
        let before = snapshot(esp.path());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/systemd-boot-builder");
        let (root, at) = (root.path().to_str().unwrap(), esp.path().to_str().unwrap());
        python.passes(&[script, form, root, at, &system.top]);
        let after = snapshot(esp.path());
        let changed: Vec<_> = before.iter().filter(|(name, what)| after.get(*name) != Some(what)).collect();
        assert!(
            changed.is_empty() && after.len() == before.len(),
            "{form}: {changed:#?} {:#?}",
            after.keys()
        );
        let entries = after.keys().filter(|name| name.starts_with("loader/entries/")).count();
        assert_eq!(entries, 9, "{form}: three generations, each with two specialisations");
        let has_tree = after.keys().any(|name| name.ends_with("bcm2711-rpi-4-b.dtb.efi"));
        assert_eq!(has_tree, form != "directory", "{form}: {:#?}", after.keys());
    }
}

#[test]
fn the_firmware_of_a_raspberry_pi_finds_kernels_of_each_generation() {
    let profile = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/boards/rpi4.toml")).unwrap();
    let profile = profile.replace("loader = \"extlinux\"", "loader = \"raspberry-pi\"");
    let spec = json!({
        "install": "=/nix/store/00000000000000000000000000000000-nixos-generations-builder.sh -g 4 -f /boot/firmware -c",
        "dtbs": ["bcm2711-rpi-4-b.dtb", "broadcom/bcm2711-rpi-4-b.dtb", "overlays/README", "overlays/dwc2.dtbo"],
        "specialisations": { "x": {} },
        "older": [{ "version": "1" }],
    });
    let Some(system) = System::new(&spec) else { return };
    let board = system.dir.path().join("board.toml");
    std::fs::write(&board, profile).unwrap();
    let image = system.dir.path().join("card.img");
    let mut command = nixflash();
    let root = system.dir.path().join("root");
    command.args(["compose", "--system", &system.top, "--generation", &system.older[0], "--store"]).arg(root);
    let done = run(command.arg("--board").arg(&board).arg("-o").arg(&image));
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(!done.err.contains("will not change what this card boots"), "{}", done.err);
    let (Some(mtype), Some(mdir), Some(fat)) = (Tool::find("mtype"), Tool::find("mdir"), part(&image, 0))
    else {
        return;
    };
    let fat = fat.to_str().unwrap();
    let listing = mdir.passes(&["-b", "-/", "-i", fat, "::/nixos"]);
    for generation in ["default", "1-default", "2-default", "1-x", "2-x"] {
        for file in
            ["kernel.img", "initrd", "cmdline.txt", "system-link", "bcm2711-rpi-4-b.dtb", "overlays/README"]
        {
            assert!(
                listing.contains(&format!("::/nixos/{generation}/{file}")),
                "{generation}/{file}: {listing}"
            );
        }
    }
    // Of two device trees of one name the builder leaves the one of the subdirectory.
    let Some(files) = files_of(Path::new(fat)) else { return };
    let (root, kernel) = (system.dir.path().join("root/nix/store"), "-linux-6.12.58");
    let mut stores = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let kernel = stores.find(|path| path.to_str().unwrap().ends_with(kernel)).unwrap();
    let expected = sha256(&kernel.join("dtbs/broadcom/bcm2711-rpi-4-b.dtb"));
    assert_ne!(expected, sha256(&kernel.join("dtbs/bcm2711-rpi-4-b.dtb")));
    assert_eq!(sha256(&files.path().join("nixos/default/bcm2711-rpi-4-b.dtb")), expected);
    let line = |generation: &str| mtype.passes(&["-i", fat, &format!("::/nixos/{generation}/cmdline.txt")]);
    let params = "console=ttyS0,115200n8 root=fstab loglevel=4";
    assert_eq!(line("default"), format!("{params} init={}/init\n", system.top));
    assert_eq!(
        line("2-x"),
        format!("{params} init=/nix/var/nix/profiles/system-2-link/specialisation/x/init\n")
    );
}
