//! `inspect` on cards that sfdisk, mke2fs, mtools and sqlite made, and on damaged ones.

use crate::common::{Tool, skip, temp};
use nixflash::format::boot::bootspec;
use nixflash::format::nix::database;
use nixflash::format::nix::database::Row;
use nixflash::format::nix::store_path::StorePath;
use nixflash::inspect::{Loader, Report, State, TableKind, inspect};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TOPLEVEL: &str = "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-nixos-system-test-25.11";
const OTHER: &str = "/nix/store/4q4sz9v0ifqq6r8v5v1l21blqhbsiga3-nixos-system-test-25.05";
const KERNEL: &str = "/nix/store/5q4sz9v0ifqq6r8v5v1l21blqhbsiga3-linux-6.12.1";
const MIB: u64 = 1 << 20;

struct Card {
    work: tempfile::TempDir,
    image: PathBuf,
}

/// Writes a file and the directories above it.
fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn boot_json() -> String {
    format!(
        r#"{{"org.nixos.bootspec.v1":{{"system":"aarch64-linux","label":"NixOS Test 25.11 (Linux 6.12.1)","toplevel":"{TOPLEVEL}",
        "init":"{TOPLEVEL}/init","kernel":"{KERNEL}/Image","kernelParams":["console=ttyS0","root=fstab"],"initrd":"{KERNEL}/initrd"}}}}"#
    )
}

/// A NixOS of two generations, as little as shows.
fn root(root: &Path) {
    for (toplevel, version) in [(TOPLEVEL, "25.11"), (OTHER, "25.05")] {
        put(root, &format!("{toplevel}/nixos-version"), version);
        put(root, &format!("{toplevel}/system"), "aarch64-linux\n");
        put(root, &format!("{toplevel}/init"), "");
        put(root, &format!("{toplevel}/kernel-params"), "loglevel=4 quiet\n");
        symlink(format!("{KERNEL}/Image"), root.join(&toplevel[1..]).join("kernel")).unwrap();
        symlink(KERNEL, root.join(&toplevel[1..]).join("kernel-modules")).unwrap();
    }
    put(root, &format!("{TOPLEVEL}/boot.json"), &boot_json());
    put(root, &format!("{KERNEL}/Image"), "kernel");
    put(root, &format!("{KERNEL}/initrd"), "initrd");
    put(root, &format!("{KERNEL}/lib/modules/6.12.1/modules.dep"), "");
    put(root, "etc/nixos/configuration.nix", "{ }");
    put(root, "nix/var/nixflash/manifest.json", &manifest(""));
    let profiles = root.join("nix/var/nix/profiles");
    fs::create_dir_all(&profiles).unwrap();
    symlink(OTHER, profiles.join("system-9-link")).unwrap();
    symlink(TOPLEVEL, profiles.join("system-10-link")).unwrap();
    symlink("system-10-link", profiles.join("system")).unwrap();
    let row = |path: &str, nar_size| Row {
        path: StorePath::from_absolute(path).unwrap(),
        nar_hash: [1; 32],
        nar_size,
        references: vec![],
        deriver: None,
        signatures: vec![],
        content_address: None,
    };
    let rows = [row(TOPLEVEL, 1000), row(OTHER, 200), row(KERNEL, 30)];
    fs::create_dir_all(root.join("nix/var/nix/db")).unwrap();
    fs::write(root.join("nix/var/nix/db/db.sqlite"), database::write(&rows, 1).unwrap()).unwrap();
}

fn manifest(more: &str) -> String {
    format!(
        r#"{{"schema":"nixflash-manifest/1","nixflash":"0.1.0","board":"test","toplevel":"{TOPLEVEL}","revision":"abcdef"{more}}}"#
    )
}

fn extlinux() -> String {
    format!(
        "DEFAULT nixos-default\nTIMEOUT 50\n\nLABEL nixos-default\n  MENU LABEL NixOS - Default\n  LINUX ../nixos/k-Image\n  INITRD ../nixos/i-initrd\n  APPEND init={TOPLEVEL}/init quiet\n"
    )
}

impl Card {
    /// Lays out a card: a table out of a script, each partition (start in MiB) out of a file.
    fn new(script: &str, mib: u64, parts: &[(u64, PathBuf)], work: tempfile::TempDir) -> Option<Self> {
        Tool::find("sfdisk")?;
        let image = work.path().join("card.img");
        let mut file = fs::File::create(&image).unwrap();
        file.set_len(mib * MIB).unwrap();
        let mut sfdisk = Command::new("sfdisk")
            .arg("-q")
            .arg(&image)
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        sfdisk.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(sfdisk.wait().unwrap().success());
        for (start, part) in parts {
            file.seek(SeekFrom::Start(start * MIB)).unwrap();
            file.write_all(&fs::read(part).unwrap()).unwrap();
        }
        Some(Self { work, image })
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.image).unwrap()
    }
}

fn ext4(tree: &Path, to: PathBuf, size: &str) -> Option<PathBuf> {
    let mke2fs = Tool::find("mke2fs")?;
    let (tree, file) = (tree.to_str().unwrap(), to.to_str().unwrap());
    let uuid = "44444444-4444-4444-8888-888888888888";
    mke2fs.passes(&["-q", "-F", "-t", "ext4", "-L", "NIXOS_SD", "-U", uuid, "-d", tree, file, size]);
    Some(to)
}

fn fat(tree: &Path, to: PathBuf, mib: u64, label: &str) -> Option<PathBuf> {
    let (mkfs, mcopy) = (Tool::find("mkfs.fat")?, Tool::find("mcopy")?);
    let file = to.to_str().unwrap();
    fs::File::create(&to).unwrap().set_len(mib * MIB).unwrap();
    mkfs.passes(&["-n", label, "-i", "2178694e", file]);
    let mut arguments = vec!["-s".to_owned(), "-i".to_owned(), file.to_owned()];
    arguments
        .extend(fs::read_dir(tree).unwrap().map(|entry| entry.unwrap().path().to_str().unwrap().to_owned()));
    arguments.push("::".to_owned());
    mcopy.passes(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    Some(to)
}

/// A card of a Raspberry Pi: MBR, FAT with firmware, ext4 with extlinux.
fn pi() -> Option<Card> {
    let work = temp();
    let (tree, boot) = (work.path().join("root"), work.path().join("boot"));
    root(&tree);
    put(&tree, "boot/extlinux/extlinux.conf", &extlinux());
    put(&tree, "boot/nixos/k-Image", "kernel");
    put(&tree, "boot/nixos/i-initrd", "initrd");
    put(
        &boot,
        "config.txt",
        "[pi3]\nkernel=u-boot-rpi3.bin\n[pi4]\nkernel=u-boot-rpi4.bin\n[all]\narm_64bit=1\n",
    );
    put(&boot, "u-boot-rpi3.bin", "");
    put(&boot, "u-boot-rpi4.bin", "");
    put(&boot, "nixflash.json", &manifest(""));
    let ext4 = ext4(&tree, work.path().join("ext4"), "32M")?;
    let fat = fat(&boot, work.path().join("fat"), 16, "FIRMWARE")?;
    let script = "label: dos\nlabel-id: 0x2178694e\nstart=8M, size=16M, type=b\nstart=24M, size=32M, type=83, bootable\n";
    Card::new(script, 56, &[(8, fat), (24, ext4)], work)
}

/// A card for UEFI: GPT, ESP with systemd-boot, ext4.
fn uefi() -> Option<Card> {
    let work = temp();
    let (tree, boot) = (work.path().join("root"), work.path().join("boot"));
    root(&tree);
    put(&boot, "EFI/nixos/k.efi", "kernel");
    put(&boot, "EFI/nixos/i.efi", "initrd");
    put(&boot, "EFI/Linux/other.efi", "all in one");
    put(&boot, "loader/loader.conf", "timeout 5\ndefault nixos-generation-10.conf\n");
    let entry = format!(
        "title NixOS\nsort-key nixos\nversion Generation 10\nlinux /EFI/nixos/k.efi\ninitrd /EFI/nixos/i.efi\noptions init={TOPLEVEL}/init quiet\n"
    );
    put(&boot, "loader/entries/nixos-generation-10.conf", &entry);
    let ext4 = ext4(&tree, work.path().join("ext4"), "32M")?;
    let fat = fat(&boot, work.path().join("fat"), 16, "ESP")?;
    let script = "label: gpt\nlabel-id: 11111111-1111-4111-8111-111111111111\n\
        start=1M, size=16M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=22222222-2222-4222-8222-222222222222, name=ESP\n\
        start=17M, size=32M, type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE, uuid=33333333-3333-4333-8333-333333333333, name=nixos, attrs=LegacyBIOSBootable\n";
    Card::new(script, 50, &[(1, fat), (17, ext4)], work)
}

fn report(bytes: &[u8]) -> Report {
    inspect(&bytes).unwrap()
}

#[test]
fn a_card_of_a_raspberry_pi_is_shown() {
    let Some(card) = pi() else { return };
    let report = report(&card.bytes());
    assert_eq!(report.problems, [""; 0]);
    assert_eq!((report.table, report.disk_id.as_deref()), (Some(TableKind::Mbr), Some("2178694e")));
    let [fat, ext4] = &report.partitions[..] else { panic!("{report:?}") };
    assert_eq!((fat.start, fat.bytes, fat.type_name, fat.active), (8 * MIB, 16 * MIB, Some("FAT32"), false));
    assert_eq!((&ext4.part_uuid[..], ext4.active), ("2178694e-02", true));
    let fs = fat.file_system.as_ref().unwrap();
    assert_eq!((&fs.kind[..], &fs.label[..], &fs.uuid[..]), ("FAT16", "FIRMWARE", "2178-694E"));
    let fs = ext4.file_system.as_ref().unwrap();
    assert_eq!(
        (&fs.kind[..], &fs.label[..], fs.bytes, fs.state),
        ("ext4", "NIXOS_SD", 32 * MIB, Some(State::Clean))
    );
    assert_eq!(fs.uuid, "44444444-4444-4444-8888-888888888888");
    let nixos = report.nixos.as_ref().unwrap();
    assert_eq!((nixos.partition, nixos.toplevel.as_deref()), (2, Some(TOPLEVEL)));
    assert_eq!((nixos.version.as_deref(), nixos.system.as_deref()), (Some("25.11"), Some("aarch64-linux")));
    assert_eq!(nixos.kernel.as_deref(), Some(&format!("{KERNEL}/Image")[..]));
    assert_eq!(nixos.kernel_version.as_deref(), Some("6.12.1"));
    assert_eq!(nixos.kernel_params, ["console=ttyS0", "root=fstab"]);
    let generations: Vec<_> = nixos.generations.iter().map(|g| (g.number, &g.toplevel[..])).collect();
    assert_eq!(generations, [(9, OTHER), (10, TOPLEVEL)]);
    assert_eq!((nixos.store_paths, nixos.nar_bytes), (Some(3), Some(1230)));
    assert_eq!(nixos.configuration, ["configuration.nix"]);
    let entries: Vec<_> = report
        .boot_entries
        .iter()
        .map(|e| (e.loader, e.partition, &e.label[..], &e.kernel[..], e.is_default))
        .collect();
    assert_eq!(
        entries,
        [
            (Loader::RaspberryPi, 1, "[pi3]", "u-boot-rpi3.bin", false),
            (Loader::RaspberryPi, 1, "[pi4]", "u-boot-rpi4.bin", false),
            (Loader::Extlinux, 2, "nixos-default", "../nixos/k-Image", true),
        ]
    );
    assert_eq!(report.provenance.as_ref().unwrap()["board"], "test");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["schema"], "nixflash-inspect/1");
    assert_eq!(json["partitions"][1]["fileSystem"]["freeInodes"], serde_json::json!(fs.free_inodes));
    assert_eq!(json["bootEntries"][2]["loader"], "extlinux");
}

#[test]
fn a_card_for_uefi_is_shown_in_80_columns() {
    let Some(card) = uefi() else { return };
    let report = report(&card.bytes());
    assert_eq!(report.problems, [""; 0]);
    let text = report.text();
    let free = |n: usize| report.partitions[n].file_system.as_ref().unwrap();
    let expected = format!(
        "\
image        50 MiB (52428800 bytes)
table        GPT, GUID 11111111-1111-4111-8111-111111111111
partition 1  16 MiB at 1 MiB, EFI system, \"ESP\"
             PARTUUID 22222222-2222-4222-8222-222222222222
             FAT16 \"ESP\", UUID 2178-694E
             16 MiB, {} free
partition 2  32 MiB at 17 MiB, Linux root (arm64), \"nixos\", active
             PARTUUID 33333333-3333-4333-8333-333333333333
             ext4 \"NIXOS_SD\", UUID 44444444-4444-4444-8888-888888888888
             32 MiB, {} free, {} inodes free, clean
NixOS        25.11 for aarch64-linux, on partition 2
toplevel     {TOPLEVEL}
kernel       {KERNEL}/Image
             version 6.12.1
initrd       {KERNEL}/initrd
parameters   console=ttyS0 root=fstab
closure      3 store paths, 1.2 KiB
generation   9:
             {OTHER}
generation   10:
             {TOPLEVEL}
             (current)
/etc/nixos   configuration.nix
boots        NixOS Generation 10 (systemd-boot on partition 1, default):
             /EFI/nixos/k.efi
boots        other.efi (systemd-boot, unified on partition 1):
             /EFI/Linux/other.efi
made by      nixflash 0.1.0 for the board test
revision     abcdef
",
        nixflash::sizes::show_bytes(free(0).free),
        nixflash::sizes::show_bytes(free(1).free),
        free(1).free_inodes.unwrap(),
    );
    assert_eq!(text, expected);
    let long = text.lines().filter(|line| line.chars().count() > 80).collect::<Vec<_>>();
    assert!(long.iter().all(|line| line.contains("/nix/store/")), "{long:?}");
}

/// A card with something done to its trees is said to have these problems, and is shown all the same.
fn problems_of(change: impl FnOnce(&Path, &Path)) -> Option<Vec<String>> {
    let work = temp();
    let (tree, boot) = (work.path().join("root"), work.path().join("boot"));
    root(&tree);
    put(&tree, "boot/extlinux/extlinux.conf", &extlinux());
    put(&tree, "boot/nixos/k-Image", "kernel");
    put(&tree, "boot/nixos/i-initrd", "initrd");
    put(&boot, "nixflash.json", &manifest(""));
    change(&tree, &boot);
    let ext4 = ext4(&tree, work.path().join("ext4"), "32M")?;
    let fat = fat(&boot, work.path().join("fat"), 16, "FIRMWARE")?;
    let script = "label: dos\nstart=8M, size=16M, type=b\nstart=24M, size=32M, type=83\n";
    let card = Card::new(script, 56, &[(8, fat), (24, ext4)], work)?;
    let report = report(&card.bytes());
    assert_eq!(report.partitions.len(), 2);
    assert!(report.nixos.is_some(), "{report:?}");
    Some(report.problems)
}

#[test]
fn what_is_wrong_with_a_system_is_said() {
    let toplevel = &TOPLEVEL[1..];
    let said = |change: &dyn Fn(&Path, &Path), expected: &[&str]| {
        let Some(problems) = problems_of(change) else { return };
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{problem}: expected {expected}");
        }
    };
    said(&|_, _| {}, &[]);
    said(
        &|root, _| put(root, &format!("{toplevel}/boot.json"), "{"),
        &["partition 2: /nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-nixos-system-test-25.11/boot.json: EOF"],
    );
    said(
        &|root, _| fs::remove_file(root.join("boot/nixos/k-Image")).unwrap(),
        &[
            "partition 2: /boot/extlinux/extlinux.conf: nixos-default names ../nixos/k-Image, which is not there",
        ],
    );
    said(
        &|root, _| fs::remove_file(root.join(toplevel).join("init")).unwrap(),
        &[
            "partition 2: the init of the system is",
            "partition 2: /boot/extlinux/extlinux.conf: nixos-default starts /nix/store/",
        ],
    );
    said(
        &|root, _| fs::remove_dir_all(root.join(&OTHER[1..])).unwrap(),
        &["partition 2: generation 9 is /nix/store/4q4"],
    );
    said(
        &|root, _| fs::remove_file(root.join("nix/var/nix/profiles/system")).unwrap(),
        &["/nix/var/nix/profiles/system leads to no system"],
    );
    said(
        &|root, _| put(root, "nix/var/nix/db/db.sqlite", "no database"),
        &["partition 2: /nix/var/nix/db/db.sqlite: "],
    );
    said(
        &|root, _| put(root, "nix/var/nix/db/db.sqlite-wal", "log"),
        &["db.sqlite: 3 bytes of its write-ahead log hold no change of it"],
    );
    said(
        &|root, _| put(root, "nix/var/nixflash/manifest.json", "[\u{1b}"),
        &["partition 2: /nix/var/nixflash/manifest.json: "],
    );
    said(
        &|_, boot| put(boot, "nixflash.json", "{\"board\":\"test\"}"),
        &["partitions 1 and 2 disagree about the toplevel"],
    );
    said(
        &|_, boot| put(boot, "config.txt", "kernel=none.img\n"),
        &["partition 1: /config.txt: [all] names none.img, which is not there"],
    );
    said(
        &|root, _| {
            fs::remove_file(root.join("boot/extlinux/extlinux.conf")).unwrap();
            symlink("extlinux.conf", root.join("boot/extlinux/extlinux.conf")).unwrap();
        },
        &["leads too far"],
    );
}

#[test]
fn what_is_no_card_is_said_to_be_none() {
    let cases: [(&str, Vec<u8>); 5] = [
        ("nothing", vec![]),
        ("a byte", vec![1]),
        ("zeros", vec![0; 4 << 20]),
        ("ones", vec![0xff; 1 << 20]),
        ("text", b"<!doctype html><title>404</title>".repeat(1000)),
    ];
    for (what, bytes) in cases {
        let report = report(&bytes);
        assert!(report.partitions.is_empty() && report.nixos.is_none(), "{what}: {report:?}");
        assert_eq!(report.problems.len(), 1, "{what}: {:?}", report.problems);
        assert!(report.text().contains("NixOS        none found\n"), "{what}");
    }
}

#[test]
fn a_file_system_without_a_table_is_shown() {
    let work = temp();
    root(&work.path().join("root"));
    let Some(image) = ext4(&work.path().join("root"), work.path().join("image"), "32M") else { return };
    let report = report(&fs::read(image).unwrap());
    assert_eq!((report.table, report.partitions.len(), report.partitions[0].number), (None, 1, 0));
    assert_eq!(report.nixos.unwrap().toplevel.as_deref(), Some(TOPLEVEL));
}

#[test]
fn a_card_cut_short_or_damaged_is_shown_as_far_as_it_goes() {
    for card in [pi(), uefi()] {
        let Some(card) = card else { return };
        let good = card.bytes();
        for len in [511, 512, 4096, MIB, 9 * MIB, 20 * MIB, 30 * MIB, 48 * MIB] {
            let report = report(&good[..len as usize]);
            assert!(!report.problems.is_empty(), "{len}");
            assert!(report.text().is_ascii());
        }
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = |end: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 11) % end) as usize
        };
        // Sectors that hold something.
        let sectors: Vec<usize> =
            (0..good.len() / 512).filter(|n| good[n * 512..][..512].iter().any(|b| *b != 0)).collect();
        let mut bytes = good.clone();
        for _ in 0..150 {
            let places: Vec<usize> =
                (0..=next(8)).map(|_| sectors[next(sectors.len() as u64)] * 512 + next(512)).collect();
            for at in &places {
                bytes[*at] = next(256) as u8;
            }
            let report = report(&bytes);
            assert!(report.text().lines().all(|line| !line.contains(|c: char| c.is_control())));
            for at in places {
                bytes[at] = good[at];
            }
        }
        drop(card.work);
    }
}

#[test]
fn published_boot_specifications_parse() {
    let Some(fixtures) = std::env::var_os("NIXFLASH_FIXTURES") else {
        println!("skipped: NIXFLASH_FIXTURES does not name the published boot specifications");
        return;
    };
    let mut parsed = 0;
    let Ok(entries) = fs::read_dir(Path::new(&fixtures).join("bootspec")) else {
        return skip("no bootspec in NIXFLASH_FIXTURES");
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name == "schema.json") {
            continue;
        }
        let document =
            bootspec::parse(&fs::read(&path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(document.spec.label.starts_with("NixOS "), "{}", path.display());
        assert_eq!(
            document.specialisations.is_empty(),
            path.to_str().unwrap().contains("plain"),
            "{}",
            path.display()
        );
        parsed += 1;
    }
    assert!(parsed > 0);
}
