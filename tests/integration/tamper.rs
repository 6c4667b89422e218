//! Cards that somebody has changed: each change is found and named, those that e2fsck calls clean too.
//!
//! Changed by debugfs, mtools, sgdisk and single bytes, on cards that a system has mounted, where much may differ.

use crate::common::{Demo, Tool, cut, demo, nixflash, partitions, run, temp};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that change cards.
struct Tools {
    debugfs: Tool,
    e2fsck: Tool,
    mcopy: Tool,
    mdel: Tool,
    mlabel: Tool,
    sgdisk: Tool,
}

impl Tools {
    fn find() -> Option<Self> {
        Some(Self {
            debugfs: Tool::find("debugfs")?,
            e2fsck: Tool::find("e2fsck")?,
            mcopy: Tool::find("mcopy")?,
            mdel: Tool::find("mdel")?,
            mlabel: Tool::find("mlabel")?,
            sgdisk: Tool::find("sgdisk")?,
        })
    }
}

/// A card to be changed.
struct Card<'a> {
    tools: &'a Tools,
    top: &'a str,
    image: PathBuf,
    spans: Vec<(u64, u64)>,
}

impl Card<'_> {
    fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.image).unwrap()
    }

    fn root(&self) -> u64 {
        self.spans[self.spans.len() - 1].0
    }

    /// Has debugfs do something to the root.
    fn fs(&self, request: &str) -> String {
        let at = format!("{}?offset={}", self.image.display(), self.root());
        let out = self.tools.debugfs.passes(&["-w", "-R", request, &at]);
        assert!(!out.contains("not found"), "{request}: {out}");
        out
    }

    /// Has one of mtools do something to the FAT.
    fn fat(&self, tool: &Tool, arguments: &[&str]) {
        let at = format!("{}@@{}", self.image.display(), self.spans[0].0);
        tool.passes(&[&["-i", &at], arguments].concat());
    }

    fn beside(&self, bytes: &[u8]) -> String {
        let path = self.image.with_extension("beside");
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    /// Puts a file on the root in place of another, with a mode.
    fn put(&self, path: &str, bytes: &[u8], mode: &str) {
        let from = self.beside(bytes);
        let at = format!("{}?offset={}", self.image.display(), self.root());
        self.tools.debugfs.run(&["-w", "-R", &format!("rm {path}"), &at]);
        self.fs(&format!("write {from} {path}"));
        self.fs(&format!("sif {path} mode 0100{mode}"));
        self.fs(&format!("sif {path} uid 0"));
        self.fs(&format!("sif {path} gid 0"));
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let to = self.image.with_extension("got");
        self.fs(&format!("dump {path} {}", to.display()));
        std::fs::read(to).unwrap()
    }

    fn link(&self, path: &str, target: &str) {
        self.fs(&format!("rm {path}"));
        self.fs(&format!("symlink {path} {target}"));
    }

    /// The place of the first block of a file.
    fn block(&self, path: &str) -> (u64, u64) {
        let out = self.fs(&format!("blocks {path}"));
        let number = |line: &str| line.split_whitespace().next()?.parse::<u64>().ok();
        let block = out.lines().find_map(number).unwrap();
        (block, self.root() + block * 4096)
    }

    /// The place of an inode.
    fn inode(&self, path: &str) -> u64 {
        let out = self.fs(&format!("imap {path}"));
        let after = |word: &str| out.split(word).nth(1).unwrap().trim().to_owned();
        let block: u64 = after("located at block").split(',').next().unwrap().trim().parse().unwrap();
        let offset = after("offset 0x");
        self.root()
            + block * 4096
            + u64::from_str_radix(offset.split_whitespace().next().unwrap(), 16).unwrap()
    }

    fn flip(&self, at: u64) {
        let mut byte = [0];
        self.file().read_exact_at(&mut byte, at).unwrap();
        self.file().write_all_at(&[byte[0] ^ 0x20], at).unwrap();
    }

    /// Changes the database by a statement.
    fn sql(&self, statement: &str) {
        let path = self.image.with_extension("db");
        std::fs::write(&path, self.get(DATABASE)).unwrap();
        let db = rusqlite::Connection::open(&path).unwrap();
        assert!(db.execute(statement, []).unwrap() > 0, "{statement}");
        drop(db);
        self.put(DATABASE, &std::fs::read(&path).unwrap(), "644");
    }

    fn fat_file(&self, path: &str) -> Vec<u8> {
        let to = self.image.with_extension("got");
        self.fat(&self.tools.mcopy, &["-n", "-o", &format!("::{path}"), to.to_str().unwrap()]);
        std::fs::read(to).unwrap()
    }

    fn put_fat(&self, path: &str, bytes: &[u8]) {
        let from = self.beside(bytes);
        self.fat(&self.tools.mcopy, &["-o", &from, &format!("::{path}")]);
    }

    fn e2fsck_is_clean(&self) -> bool {
        let part = self.image.with_extension("part");
        cut(&self.image, self.spans[self.spans.len() - 1], &part);
        self.tools.e2fsck.run(&["-fn", part.to_str().unwrap()]).status.success()
    }
}

const DATABASE: &str = "/nix/var/nix/db/db.sqlite";
const PROFILES: &str = "/nix/var/nix/profiles";

/// What is done, a word that must be among the damage, and whether e2fsck sees nothing; without an answer it is not
/// asked.
type Tampering = (&'static str, fn(&Card<'_>), &'static str, Option<bool>);

/// An image of a board, marked as used.
fn used(demo: &Demo, board: &str, dir: &Path, tools: &Tools) -> Option<(PathBuf, Vec<(u64, u64)>)> {
    let image = dir.join("base.img");
    assert_eq!(run(&mut demo.compose(board, &demo.at("root"), &image)).code, 0);
    let spans = partitions(&image)?;
    let card = Card { tools, top: &demo.top, image, spans };
    card.fs("set_super_value mnt_count 3");
    Some((card.image, card.spans))
}

fn judge(image: &Path) -> (i32, serde_json::Value, String) {
    let done = run(nixflash().arg("verify").arg(image).arg("--json"));
    (done.code, serde_json::from_slice(&done.out).unwrap_or_default(), done.err)
}

/// Does each thing to a card of its own and demands that it is found.
fn each(board: &str, tamperings: &[Tampering]) {
    let (Some(demo), Some(tools)) = (demo(), Tools::find()) else { return };
    let dir = temp();
    let Some((base, spans)) = used(demo, board, dir.path(), &tools) else { return };
    let (code, report, err) = judge(&base);
    assert_eq!((code, &report["verdict"]), (0, &"intact, changed since".into()), "{err}");
    let mut clean = 0;
    for (what, act, expected, is_clean) in tamperings {
        let image = dir.path().join("card.img");
        let copied = Command::new("cp").args(["--sparse=always"]).args([&base, &image]).status().unwrap();
        assert!(copied.success());
        let card = Card { tools: &tools, top: &demo.top, image: image.clone(), spans: spans.clone() };
        act(&card);
        let (code, report, err) = judge(&image);
        assert_eq!((code, report["verdict"].as_str()), (3, Some("damaged")), "{what}: {err}");
        let damaged = report["damaged"].as_array().unwrap().iter();
        let said: Vec<String> = damaged
            .map(|one| format!("{}: {}", one["path"].as_str().unwrap(), one["problem"].as_str().unwrap()))
            .collect();
        let expected = expected.replace("@TOP", &demo.top);
        assert!(said.iter().any(|line| line.contains(&expected)), "{what}: {expected}: {said:#?}");
        if let Some(is_clean) = is_clean {
            assert_eq!(card.e2fsck_is_clean(), *is_clean, "{what}");
            clean += usize::from(*is_clean);
        }
    }
    println!("{board}: {} tamperings found, {clean} of them are clean to e2fsck", tamperings.len());
}

#[test]
fn what_is_done_to_the_store_is_found() {
    each(
        "rpi4",
        &[
            (
                "a byte of a file",
                |c| c.flip(c.block(&format!("{}/nixos-version", c.top)).1),
                "@TOP: its contents are not those",
                Some(true),
            ),
            (
                "a file more",
                |c| c.put(&format!("{}/more", c.top), b"more", "444"),
                "@TOP: it is longer",
                Some(true),
            ),
            (
                "a file less",
                |c| drop(c.fs(&format!("rm {}/nixos-version", c.top))),
                "@TOP: its NAR has",
                Some(true),
            ),
            (
                "setuid",
                |c| drop(c.fs(&format!("sif {}/nixos-version mode 0104555", c.top))),
                "@TOP/nixos-version: its mode is 4555, which is setuid",
                Some(true),
            ),
            (
                "a mode",
                |c| drop(c.fs(&format!("sif {}/nixos-version mode 0100646", c.top))),
                "@TOP/nixos-version: its mode is 0646",
                Some(true),
            ),
            (
                "a directory's mode",
                |c| drop(c.fs(&format!("sif {} mode 040777", c.top))),
                "@TOP: its mode is 0777",
                Some(true),
            ),
            (
                "an owner",
                |c| drop(c.fs(&format!("sif {}/nixos-version uid 1000", c.top))),
                "@TOP/nixos-version: it is owned by 1000:0",
                Some(true),
            ),
            (
                "a group",
                |c| drop(c.fs(&format!("sif {}/nixos-version gid 100", c.top))),
                "@TOP/nixos-version: it is owned by 0:100",
                Some(true),
            ),
            (
                "a time",
                |c| drop(c.fs(&format!("sif {}/nixos-version mtime @77", c.top))),
                "@TOP/nixos-version: its time is 77",
                Some(true),
            ),
            (
                "a symlink's target",
                |c| c.link(&format!("{}/kernel", c.top), "/tmp/kernel"),
                "@TOP: ",
                Some(true),
            ),
            (
                "capabilities",
                |c| drop(c.fs(&format!("ea_set {}/nixos-version security.capability x", c.top))),
                "@TOP/nixos-version: it has extended attributes",
                Some(true),
            ),
            (
                "an immutable file",
                |c| drop(c.fs(&format!("sif {}/nixos-version flags 0x80010", c.top))),
                "@TOP/nixos-version: it is immutable",
                Some(true),
            ),
            (
                "a path less",
                |c| drop(c.fs(&format!("unlink {}", c.top))),
                "@TOP: it is registered, and not there",
                Some(false),
            ),
            (
                "a file among the paths",
                |c| c.put("/nix/store/evil", b"evil", "555"),
                "/nix/store/evil: it is nothing that Nix puts there",
                Some(true),
            ),
            (
                "a store that all may write",
                |c| drop(c.fs("sif /nix/store mode 041777")),
                "/nix/store: its mode is 1777",
                Some(true),
            ),
            (
                "a block that is free",
                |c| {
                    let (block, _) = c.block(&format!("{}/nixos-version", c.top));
                    c.fs(&format!("freeb {block}"));
                },
                "@TOP/nixos-version: some of its blocks are marked as free",
                Some(false),
            ),
            (
                "an inode that is free",
                |c| drop(c.fs(&format!("freei {}/nixos-version", c.top))),
                "@TOP/nixos-version: its inode is marked as free",
                Some(false),
            ),
        ],
    );
}

#[test]
fn what_is_done_to_metadata_is_found() {
    each(
        "rpi4",
        &[
            (
                "a cleared checksum of the superblock",
                |c| c.file().write_all_at(&[0; 4], c.root() + 1024 + 0x3fc).unwrap(),
                "the superblock has the checksum 0x0",
                Some(false),
            ),
            (
                "an inode without its checksum",
                |c| c.flip(c.inode(&format!("{}/nixos-version", c.top)) + 0x7c),
                "@TOP: ext4 is damaged: inode",
                Some(false),
            ),
            (
                "a byte of a directory",
                |c| c.flip(c.block(c.top).1 + 40),
                "@TOP: ext4 is damaged: block 0 of the directory",
                Some(false),
            ),
            (
                "a byte of a group descriptor",
                |c| c.flip(c.root() + 4096 + 12),
                "the descriptor of group 0 has the checksum",
                Some(false),
            ),
            (
                "a byte of a block bitmap",
                |c| {
                    let out = c.fs("stats");
                    let bitmap = out.split("block bitmap at ").nth(1).unwrap().split(',').next().unwrap();
                    c.flip(c.root() + bitmap.trim().parse::<u64>().unwrap() * 4096 + 9);
                },
                "the block bitmap of group 0 has the checksum",
                Some(false),
            ),
            (
                "a byte of an inode bitmap",
                |c| {
                    let out = c.fs("stats");
                    let bitmap = out.split("inode bitmap at ").nth(1).unwrap().split(',').next().unwrap();
                    c.flip(c.root() + bitmap.trim().parse::<u64>().unwrap() * 4096 + 9);
                },
                "the inode bitmap of group 0 has the checksum",
                Some(false),
            ),
            (
                "errors of the kernel",
                |c| drop(c.fs("set_super_value state 2")),
                "the kernel has found errors",
                None,
            ),
            (
                "a label of the root",
                |c| drop(c.fs("set_super_value volume_name EVIL")),
                "the label of its file system is \"EVIL\"",
                Some(true),
            ),
            (
                "a label of the FAT",
                |c| c.fat(&c.tools.mlabel, &["::EVIL"]),
                "the label of its file system is \"EVIL\"",
                None,
            ),
            (
                "an id of the FAT",
                |c| c.fat(&c.tools.mlabel, &["-N", "12345678", "::"]),
                "the identifier of its file system is \"1234-5678\"",
                None,
            ),
            (
                "swapped partitions",
                |c| {
                    let mut entries = [0; 32];
                    c.file().read_exact_at(&mut entries, 446).unwrap();
                    entries.rotate_left(16);
                    c.file().write_all_at(&entries, 446).unwrap();
                },
                "partition 1: it begins at byte",
                None,
            ),
            (
                "the end of an inode bitmap",
                |c| {
                    let out = c.fs("stats");
                    let bitmap = out.split("inode bitmap at ").nth(1).unwrap().split(',').next().unwrap();
                    c.flip(c.root() + bitmap.trim().parse::<u64>().unwrap() * 4096 + 4095);
                },
                "the end of the inode bitmap of group 0 is not padded",
                Some(false),
            ),
            (
                "an active flag",
                |c| c.file().write_all_at(&[0x80], 446).unwrap(),
                "partition 1: it is active",
                None,
            ),
            (
                "a FAT that is gone",
                |c| c.file().write_all_at(&[0; 512], c.spans[0].0).unwrap(),
                "partition 1: there is no vfat on it",
                None,
            ),
            ("a type of a partition", |c| c.flip(446 + 4), "partition 1: its type is", None),
            ("a disk id", |c| c.flip(440), "partition table: its identifier is", None),
            (
                "a card that is cut",
                |c| c.file().set_len(c.root() + (8 << 20)).unwrap(),
                "partition 2: ext4 is damaged: it claims",
                None,
            ),
            (
                "a chain of the FAT",
                |c| {
                    let mut sector = [0; 512];
                    c.file().read_exact_at(&mut sector, c.spans[0].0).unwrap();
                    let reserved = u64::from(u16::from_le_bytes([sector[14], sector[15]]));
                    c.file().write_all_at(&[0xff; 8], c.spans[0].0 + reserved * 512 + 40).unwrap();
                },
                "partition 1",
                None,
            ),
        ],
    );
}

#[test]
fn what_is_done_to_what_boots_and_what_nix_believes_is_found() {
    each(
        "rpi4",
        &[
            (
                "a command line",
                |c| {
                    let path = "/boot/extlinux/extlinux.conf";
                    let text = String::from_utf8(c.get(path)).unwrap();
                    let text = text.replace("APPEND init=", "APPEND systemd.debug_shell init=");
                    c.put(path, text.as_bytes(), "644");
                },
                "/boot/extlinux/extlinux.conf: it is not what was written: entry nixos-default has a command line",
                Some(true),
            ),
            (
                "a line of its own",
                |c| {
                    let path = "/boot/extlinux/extlinux.conf";
                    let text = [c.get(path), b"  FDTOVERLAYS ../evil.dtbo\n".to_vec()].concat();
                    c.put(path, &text, "644");
                },
                "it has the line \"FDTOVERLAYS ../evil.dtbo\"",
                Some(true),
            ),
            (
                "a kernel",
                |c| {
                    let out = c.fs("ls -p /boot/nixos");
                    let line = out.lines().find(|line| line.contains("-Image/")).unwrap();
                    let name = line.split('/').nth(5).unwrap();
                    c.flip(c.block(&format!("/boot/nixos/{name}")).1);
                },
                "-Image: it is not what was written",
                Some(true),
            ),
            (
                "an initrd less",
                |c| {
                    let out = c.fs("ls -p /boot/nixos");
                    let line = out.lines().find(|line| line.contains("-initrd/")).unwrap();
                    c.fs(&format!("rm /boot/nixos/{}", line.split('/').nth(5).unwrap()));
                },
                "-initrd: it is missing",
                Some(true),
            ),
            (
                "a file among boot files",
                |c| c.put("/boot/nixos/evil-Image", b"evil", "444"),
                "/boot/nixos/evil-Image: it was added",
                Some(true),
            ),
            (
                "config.txt",
                |c| {
                    let text = [c.fat_file("config.txt"), b"\nkernel=evil.bin\n".to_vec()].concat();
                    c.put_fat("config.txt", &text);
                },
                "/config.txt: it is not what was written",
                None,
            ),
            (
                "firmware",
                |c| {
                    let mut bytes = c.fat_file("start4.elf");
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    c.put_fat("start4.elf", &bytes);
                },
                "/start4.elf: it is not what was written",
                None,
            ),
            (
                "a file on the FAT",
                |c| c.put_fat("recovery.bin", b"evil"),
                "/recovery.bin: it was added",
                None,
            ),
            (
                "a file less on the FAT",
                |c| c.fat(&c.tools.mdel, &["::config.txt"]),
                "/config.txt: it is missing",
                None,
            ),
            (
                "a hash in the database",
                |c| {
                    c.sql(&format!(
                        "update ValidPaths set hash = 'sha256:{:064}' where path = '{}'",
                        7, c.top
                    ))
                },
                "@TOP: its hash or length in the database is not that of the manifest",
                Some(true),
            ),
            (
                "a length in the database",
                |c| c.sql(&format!("update ValidPaths set narSize = narSize + 8 where path = '{}'", c.top)),
                "@TOP: its hash or length in the database",
                Some(true),
            ),
            (
                "a reference in the database",
                |c| {
                    c.sql("delete from Refs where rowid = (select min(rowid) from Refs where referrer != reference)")
                },
                "/nix/var/nix/db/db.sqlite: what it says store paths refer to",
                Some(true),
            ),
            (
                "a row that its index has otherwise",
                |c| {
                    let mut bytes = c.get(DATABASE);
                    let at = bytes.windows(17).position(|text| text == b"bash-5.3p3sha256:").unwrap();
                    bytes[at + 5] = b'6';
                    c.put(DATABASE, &bytes, "644");
                },
                "/nix/var/nix/db/db.sqlite: row ",
                Some(true),
            ),
            (
                "a file where U-Boot looks first",
                |c| {
                    c.fs("mkdir /extlinux");
                    let from = c.beside(b"DEFAULT evil\nLABEL evil\nLINUX /evil\n");
                    c.fs(&format!("write {from} /extlinux/extlinux.conf"));
                },
                "/extlinux/extlinux.conf: it was added, and belongs to no generation",
                Some(true),
            ),
            (
                "a path less in the database",
                |c| c.sql(&format!("delete from ValidPaths where path = '{}'", c.top)),
                "/system-1-link: it leads to",
                Some(true),
            ),
            (
                "no database",
                |c| c.put(DATABASE, b"SQLite format 3", "644"),
                "/nix/var/nix/db/db.sqlite: ",
                Some(true),
            ),
            (
                "a database that all may write",
                |c| drop(c.fs(&format!("sif {DATABASE} mode 0100666"))),
                "/nix/var/nix/db/db.sqlite: its mode is 0666",
                Some(true),
            ),
            (
                "another system",
                |c| c.link(&format!("{PROFILES}/system"), "/tmp/evil"),
                "/nix/var/nix/profiles/system: it leads to /tmp/evil",
                Some(true),
            ),
            (
                "another first generation",
                |c| {
                    let out = c.fs("ls -p /nix/store");
                    let other = out.lines().find(|line| line.contains("-linux")).unwrap();
                    let other = other.split('/').nth(5).unwrap();
                    c.link(&format!("{PROFILES}/system-1-link"), &format!("/nix/store/{other}"));
                },
                "/nix/var/nix/profiles/system-1-link: it leads to",
                Some(true),
            ),
            (
                "no root of the garbage collector",
                |c| drop(c.fs("rm /nix/var/nix/gcroots/profiles")),
                "/nix/var/nix/gcroots/profiles: it is no link",
                Some(true),
            ),
            (
                "the manifest",
                |c| c.flip(c.block("/nix/var/nixflash/manifest.json").1 + 3),
                "/nix/var/nixflash/manifest.json: ",
                Some(true),
            ),
            (
                "no manifest",
                |c| drop(c.fs("rm /nix/var/nixflash/manifest.json")),
                "/nix/var/nixflash/manifest.json: it is missing",
                Some(true),
            ),
            (
                "a schema",
                |c| c.put("/nix/var/nix/db/schema", b"11", "644"),
                "/nix/var/nix/db/schema: it does not",
                Some(true),
            ),
            ("no NixOS", |c| drop(c.fs("rm /etc/NIXOS")), "/etc/NIXOS: it is missing", Some(true)),
        ],
    );
}

#[test]
fn what_is_done_to_an_efi_card_is_found() {
    each(
        "uefi-aarch64",
        &[
            (
                "the boot loader",
                |c| c.put_fat("EFI/BOOT/BOOTAA64.EFI", b"evil"),
                "BOOTAA64.EFI: it is not what was written",
                None,
            ),
            (
                "a kernel that is found by itself",
                |c| {
                    c.fat(&Tool::find("mmd").unwrap(), &["::EFI/Linux"]);
                    c.put_fat("EFI/Linux/evil.efi", b"evil");
                },
                "/EFI/Linux/evil.efi: it was added",
                None,
            ),
            (
                "an entry more",
                |c| c.put_fat("loader/entries/nixos-generation-2.conf", b"title NixOS\nlinux /EFI/nixos/x\n"),
                "nixos-generation-2.conf: it was added",
                None,
            ),
            (
                "a default that is none",
                |c| c.put_fat("loader/loader.conf", b"timeout 5\ndefault evil.conf\n"),
                "/loader/loader.conf: it is not what was written",
                None,
            ),
            (
                "a PARTUUID",
                |c| {
                    let uuid = "2:11111111-2222-3333-4444-555555555555";
                    drop(c.tools.sgdisk.passes(&["-u", uuid, c.image.to_str().unwrap()]));
                },
                "partition table: PARTUUID of partition 2",
                None,
            ),
            (
                "a name of a partition",
                |c| drop(c.tools.sgdisk.passes(&["-c", "2:evil", c.image.to_str().unwrap()])),
                "partition 2: its name is",
                None,
            ),
            ("a byte of the GPT", |c| c.flip(1024 + 60), "partition table: the primary GPT", None),
        ],
    );
}
