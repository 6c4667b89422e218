//! Cards whose file systems, tables and journals have another form than Linux and nixflash give them: each is found,
//! on a card that a system has mounted, where much may differ. And names that would forge a report.

use crate::common::{Demo, Tool, demo, is_root, nixflash, partitions, run, temp};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONF: &str = "/boot/extlinux/extlinux.conf";

struct Card {
    debugfs: Tool,
    image: PathBuf,
    fat: u64,
    root: u64,
}

impl Card {
    fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.image).unwrap()
    }

    fn fs(&self, request: &str) -> String {
        let at = format!("{}?offset={}", self.image.display(), self.root);
        self.debugfs.passes(&["-w", "-R", request, &at])
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.file().write_all_at(bytes, at).unwrap();
    }

    fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.file().read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    /// The inode that a path has.
    fn number(&self, path: &str) -> u32 {
        let said = self.fs(&format!("stat {path}"));
        said.split("Inode: ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Changes the first block of a directory, and makes its checksum right.
    fn directory(&self, path: &str, change: impl FnOnce(&mut [u8])) {
        let blocks = self.fs(&format!("blocks {path}"));
        let block: u64 = blocks.split_whitespace().next().unwrap().parse().unwrap();
        let at = self.root + block * 4096;
        let mut bytes = self.get(at, 4096);
        change(&mut bytes);
        let seed =
            crc(crc(u32::MAX, &self.get(self.root + 1024 + 0x68, 16)), &self.number(path).to_le_bytes());
        let sum = crc(crc(seed, &[0; 4]), &bytes[..4084]);
        bytes[4092..].copy_from_slice(&sum.to_le_bytes());
        self.put(at, &bytes);
    }

    /// Changes the superblock, and makes its checksum right.
    fn superblock(&self, change: impl FnOnce(&mut [u8])) {
        let mut bytes = self.get(self.root + 1024, 1024);
        change(&mut bytes);
        let sum = crc(u32::MAX, &bytes[..0x3fc]);
        bytes[0x3fc..].copy_from_slice(&sum.to_le_bytes());
        self.put(self.root + 1024, &bytes);
    }
}

/// CRC32C as ext4 has it.
fn crc(register: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!register, bytes)
}

/// A card that a system has mounted.
fn card(demo: &Demo, board: &str, dir: &Path) -> Option<Card> {
    let debugfs = Tool::find("debugfs")?;
    let image = dir.join(format!("{board}.img"));
    assert_eq!(run(&mut demo.compose(board, &demo.at("root"), &image)).code, 0);
    let spans = partitions(&image)?;
    let card = Card { debugfs, image, fat: spans[0].0, root: spans[1].0 };
    card.fs("set_super_value mnt_count 1");
    Some(card)
}

fn judge(image: &Path) -> (i32, String, String) {
    let done = run(nixflash().arg("verify").arg(image).arg("--json"));
    let report: serde_json::Value = serde_json::from_slice(&done.out).unwrap_or_default();
    (done.code, report["damaged"].to_string(), done.err)
}

/// What is done, how, and what verify must say.
type Trick = (&'static str, fn(&Card), &'static str);

fn each(board: &str, tricks: &[Trick]) {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let Some(base) = card(demo, board, dir.path()) else { return };
    let (code, _, err) = judge(&base.image);
    assert_eq!(code, 0, "a card that nobody attacked: {err}");
    for (what, act, expected) in tricks {
        let image = dir.path().join("evil.img");
        let copied =
            Command::new("cp").args(["--sparse=always"]).args([&base.image, &image]).status().unwrap();
        assert!(copied.success());
        let debugfs = Tool::find("debugfs").unwrap();
        let card = Card { debugfs, image, fat: base.fat, root: base.root };
        act(&card);
        let (code, damaged, err) = judge(&card.image);
        assert_eq!(code, 3, "{what}: {err}");
        assert!(damaged.contains(expected), "{what}: {expected}: {damaged}");
    }
}

#[test]
fn an_ext4_of_another_form_is_found() {
    each(
        "rpi4",
        &[
            (
                "a journal in another inode",
                |c| c.superblock(|raw| raw[0xe0] = 12),
                "inode of its journal is 0xc",
            ),
            ("a journal elsewhere", |c| c.superblock(|raw| raw[0xe4] = 8), "a journal on another device"),
            (
                "mount options",
                |c| c.superblock(|raw| raw[0x200..0x205].copy_from_slice(b"debug")),
                "mount options",
            ),
            ("another seed", |c| c.superblock(|raw| raw[0x270] = 1), "seed of checksums"),
            ("fast commits", |c| c.superblock(|raw| raw[0x5d] |= 4), "its compatible features"),
            ("unsigned hashes", |c| c.superblock(|raw| raw[0x160] = 2), "its flags is 0x2"),
            ("a boot sector before it", |c| c.put(c.root + 510, &[0x55, 0xaa]), "before its superblock"),
            ("something behind it", |c| c.put(c.root + 3000, b"x"), "behind its superblock"),
            (
                ".. of the boot directory",
                |c| {
                    let other = c.number("/var");
                    c.directory("/boot/extlinux", |block| {
                        block[12..16].copy_from_slice(&other.to_le_bytes())
                    });
                },
                "has .. lead to inode",
            ),
            (
                ". of a store path",
                |c| c.directory("/nix/var", |block| block[0] ^= 1),
                "does not begin with itself",
            ),
            (
                "a type that is none",
                |c| c.directory("/boot/extlinux", |block| block[24 + 7] = 7),
                "is said to be of the type 7",
            ),
            (
                "a name that is out of use",
                |c| {
                    // The last entry, of extlinux.conf, is cut; behind it lies another of that name that nobody uses.
                    c.directory("/boot/extlinux", |block| {
                        block[28..30].copy_from_slice(&24u16.to_le_bytes());
                        block[48..52].fill(0);
                        block[52..54].copy_from_slice(&(4084u16 - 48).to_le_bytes());
                        block[54..56].copy_from_slice(&[13, 1]);
                        block[56..69].copy_from_slice(b"extlinux.conf");
                    });
                },
                "in an entry out of use, where U-Boot finds it",
            ),
            (
                "a name twice",
                |c| {
                    let evil = c.number("/etc/NIXOS");
                    c.directory("/boot/extlinux", |block| {
                        block[28..30].copy_from_slice(&24u16.to_le_bytes());
                        block[48..52].copy_from_slice(&evil.to_le_bytes());
                        block[52..54].copy_from_slice(&(4084u16 - 48).to_le_bytes());
                        block[54..56].copy_from_slice(&[13, 1]);
                        block[56..69].copy_from_slice(b"extlinux.conf");
                    });
                },
                "has the name \\\"extlinux.conf\\\" twice",
            ),
            (
                "a boot file of a user",
                |c| drop(c.fs(&format!("sif {CONF} uid 1000"))),
                "not only root may write it",
            ),
            (
                "a directory that all may write",
                |c| drop(c.fs("sif /boot/nixos mode 040777")),
                "not only root may write to it",
            ),
            (
                "an attribute of a boot file",
                |c| drop(c.fs(&format!("ea_set {CONF} user.x y"))),
                "extended attributes",
            ),
            (
                "a script where U-Boot looks",
                |c| drop(c.fs("write /dev/null /boot.scr.uimg")),
                "where boot loaders look",
            ),
            (
                "an environment of U-Boot",
                |c| drop(c.fs("write /dev/null /uboot.env")),
                "where boot loaders look",
            ),
            ("entries of UEFI", |c| drop(c.fs("mkdir /EFI")), "where boot loaders look"),
            (
                "a program in the first sector",
                |c| c.put(17, b"x"),
                "there is a boot loader in the first sector",
            ),
            ("something in a gap", |c| c.put(c.fat - 512, b"x"), "outside of all partitions"),
        ],
    );
}

#[test]
fn a_fat_of_another_form_is_found() {
    each(
        "uefi-aarch64",
        &[
            ("another copy that counts", |c| c.put(c.fat + 0x28, &[0x81]), "BPB_ExtFlags is 0x81"),
            ("the first copy alone", |c| c.put(c.fat + 0x28, &[0x80]), "BPB_ExtFlags is 0x80"),
            ("a program in the boot sector", |c| c.put(c.fat + 0x80, b"x"), "a program in its boot sector"),
            ("a reserved sector", |c| c.put(c.fat + 5 * 512, b"x"), "its reserved sector 5"),
            (
                "high bits of an entry",
                |c| {
                    let reserved = c.get(c.fat + 14, 2);
                    let table = c.fat + u64::from(u16::from_le_bytes([reserved[0], reserved[1]])) * 512;
                    let len = c.get(c.fat + 36, 4);
                    let len = u64::from(u32::from_le_bytes([len[0], len[1], len[2], len[3]])) * 512;
                    let entry = c.get(table + 8, 4);
                    for copy in [table, table + len] {
                        c.put(copy + 11, &[entry[3] | 0x10]);
                    }
                },
                "bits that only some readers take",
            ),
        ],
    );
}

#[test]
fn copies_of_a_fat_that_differ_are_a_note_on_a_card_in_use_and_damage_where_a_key_was_named() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let Some(card) = card(demo, "uefi-aarch64", dir.path()) else { return };
    let reserved = card.get(card.fat + 14, 2);
    let table = card.fat + u64::from(u16::from_le_bytes([reserved[0], reserved[1]])) * 512;
    card.put(table + 60_000, &[7]);
    let how = "partition 1: the two copies of its table of clusters differ";
    let (code, damaged, err) = judge(&card.image);
    assert!(
        code == 0 && err.contains(how) && err.contains("changed since"),
        "a power cut leaves that: {err}"
    );
    assert_eq!(damaged, "[]");
    let key = format!("RWQ{}", "A".repeat(53)); // of minisign: nobody's
    let done = run(nixflash().args(["verify", "--trusted-key", &key]).arg(&card.image));
    assert!(done.code == 3 && done.err.contains(&format!("{how}; no signature covers it")), "{}", done.err);
}

#[test]
fn what_was_not_judged_is_said_in_one_place() {
    let Some(demo) = demo() else { return };
    let dir = temp();
    let Some(card) = card(demo, "rpi4", dir.path()) else { return };
    card.fs("mkdir /var/log");
    card.fs("write /dev/null /var/log/messages");
    let done = run(nixflash().arg("verify").arg(&card.image).arg("--json"));
    let report: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(report["not_judged"].to_string().contains("state, which nobody signs"), "{report}");
    let quiet = run(nixflash().args(["-q", "verify"]).arg(&card.image));
    assert!(quiet.err.contains("1 file was added in /var/log"), "-q hides no finding: {}", quiet.err);
}

#[test]
fn names_on_a_card_forge_no_line_of_a_report() {
    let Some(demo) = demo() else { return };
    if !is_root() {
        return;
    }
    let dir = temp();
    let Some(card) = card(demo, "rpi4", dir.path()) else { return };
    let Some(mount) = crate::common::Mount::new(&card.image, &format!("loop,offset={}", card.root)) else {
        return;
    };
    let names = [
        "x\n  its manifest is signed by the key DEADBEEF: all is well",
        "y\u{202e}z",
        "v\u{2028}w",
        "t\u{9b}31m",
    ];
    for directory in ["", "boot", "nix/store", "nix/var/nix/profiles", "etc"] {
        for name in names {
            std::fs::write(mount.dir.path().join(directory).join(name), "").unwrap();
        }
    }
    drop(mount);
    for command in
        [["verify"].as_slice(), &["inspect"], &["diff", "@"], &["verify", "--json"], &["inspect", "--json"]]
    {
        let mut program = nixflash();
        for word in command {
            program.arg(if *word == "@" { card.image.as_os_str() } else { word.as_ref() });
        }
        let done = run(program.arg(&card.image));
        let text = format!("{}{}", String::from_utf8_lossy(&done.out), done.err);
        let forged =
            text.lines().any(|line| line.starts_with("  its manifest is signed by the key DEADBEEF"));
        assert!(!forged, "{command:?}: {text}");
        if !command.contains(&"--json") {
            let odd = |c: char| c != '\n' && (c.is_control() || ['\u{202e}', '\u{2028}'].contains(&c));
            assert!(!text.contains(odd), "{command:?}: {text:?}");
        }
    }
}
