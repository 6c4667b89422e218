//! Cards that lie: each line that a boot loader reads is changed by each of a list of tricks. A model of the boot
//! loader's reader says whether it would boot something else; where it would, `verify` must say so.
//!
//! The models follow U-Boot 2025.01, `boot/pxe_utils.c`, and systemd 257, `src/boot/boot.c`, in other words.

use crate::common::{Tool, demo, partitions, run, temp};
use nixflash::store::Keys;
use nixflash::verify::card::{How, Verdict, content};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// What a boot loader takes from the text of a file.
type Reader = fn(&[u8]) -> Vec<String>;

/// The fewest evil cards, over all files.
const FEWEST: usize = 2000;
/// What an attacker wants to be read.
const EVIL: &str = "../../var/evil";

/// One text that boots, and where it lies on an image.
struct Target {
    name: &'static str,
    text: Vec<u8>,
    /// Where the contents begin, with room for `room` bytes.
    at: usize,
    room: usize,
    place: Place,
}

/// Where the length of the file is said.
enum Place {
    /// An inode of an ext4: its offset, and the seed of its checksum.
    Inode(usize, u32),
    /// A slot of a FAT's directory.
    Slot(usize),
}

/// CRC32C as ext4 has it.
fn crc(register: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!register, bytes)
}

impl Target {
    /// Writes a text in the place of the file's.
    fn put(&self, image: &mut [u8], text: &[u8]) {
        image[self.at..self.at + self.room].fill(0);
        image[self.at..self.at + text.len()].copy_from_slice(text);
        let len = u32::try_from(text.len()).unwrap().to_le_bytes();
        match self.place {
            Place::Slot(at) => image[at + 28..at + 32].copy_from_slice(&len),
            Place::Inode(at, seed) => {
                let raw = &mut image[at..at + 256];
                raw[4..8].copy_from_slice(&len);
                raw[0x7c..0x7e].fill(0);
                raw[0x82..0x84].fill(0);
                let sum = crc(seed, raw).to_le_bytes();
                raw[0x7c..0x7e].copy_from_slice(&sum[..2]);
                raw[0x82..0x84].copy_from_slice(&sum[2..]);
            }
        }
    }
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A file of the root, by what debugfs says of it.
fn of_root(name: &'static str, path: &str, image: &Path, bytes: &[u8], root: usize) -> Target {
    let debugfs = Tool::find("debugfs").unwrap();
    let at = format!("{}?offset={root}", image.display());
    let ask = |request: &str| debugfs.passes(&["-R", request, &at]);
    let number =
        |text: &str| -> usize { text.trim().split([',', ' ', '\n']).next().unwrap().parse().unwrap() };
    let place = ask(&format!("imap {path}"));
    let block = number(place.split("at block ").nth(1).unwrap());
    let within = place.split("offset 0x").nth(1).unwrap().split_whitespace().next().unwrap();
    let within = usize::from_str_radix(within, 16).unwrap();
    let inode = number(place.split("Inode ").nth(1).unwrap());
    let data = number(&ask(&format!("blocks {path}")));
    let (at, inode_at) = (root + data * 4096, root + block * 4096 + within);
    let uuid = &bytes[root + 1024 + 0x68..][..16];
    let seed = crc(crc(u32::MAX, uuid), &u32::try_from(inode).unwrap().to_le_bytes());
    let seed = crc(seed, &bytes[inode_at + 0x64..][..4]);
    let len = le32(bytes, inode_at + 4) as usize;
    Target { name, text: bytes[at..at + len].to_vec(), at, room: 4096, place: Place::Inode(inode_at, seed) }
}

/// A file of the FAT, by the text that it begins with.
fn of_fat(name: &'static str, begins: &[u8], bytes: &[u8], fat: usize) -> Target {
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([bytes[fat + at], bytes[fat + at + 1]]));
    let (per_cluster, reserved, slots) = (usize::from(bytes[fat + 13]), u16_at(14), u16_at(17));
    let table = match u16_at(22) {
        0 => le32(bytes, fat + 36) as usize,
        short => short,
    };
    let data = fat + (reserved + 2 * table) * 512 + slots * 32;
    let at = (data..bytes.len()).step_by(512).find(|at| bytes[*at..].starts_with(begins)).unwrap();
    assert_eq!((at - data) % (per_cluster * 512), 0, "{name}: not at the start of a cluster");
    let cluster = (at - data) / (per_cluster * 512) + 2;
    let start = fat + (reserved + 2 * table) * 512;
    let is_slot = |at: usize| {
        let slot = &bytes[at..at + 32];
        let low = usize::from(u16::from_le_bytes([slot[26], slot[27]]));
        let high = usize::from(u16::from_le_bytes([slot[20], slot[21]]));
        slot[11] & 0x18 == 0
            && slot[0] != 0xe5
            && (high << 16 | low) == cluster
            && le32(slot, 28) < 4096
            && le32(slot, 28) > 0
    };
    let slot = (start..bytes.len() - 32).step_by(32).find(|at| is_slot(*at)).unwrap();
    let len = le32(bytes, slot + 28) as usize;
    let room = per_cluster * 512;
    Target { name, text: bytes[at..at + len].to_vec(), at, room, place: Place::Slot(slot) }
}

/// What is done to the line `n` of a text; `None` where nothing changes.
fn tricks(lines: &[String], n: usize) -> Vec<Vec<u8>> {
    let line = &lines[n];
    let indent: String = line.chars().take_while(|c| *c == ' ').collect();
    let (word, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let evil = |word: &str| format!("{indent}{word} {EVIL}");
    let mut made: Vec<Vec<String>> = Vec::new();
    let mut with = |before: Vec<String>, own: Option<String>, after: Vec<String>| {
        let mut all = lines[..n].to_vec();
        all.extend(before);
        all.extend(own);
        all.extend(after);
        all.extend(lines[n + 1..].iter().cloned());
        made.push(all);
    };
    let own = || Some(line.clone());
    for words in [
        "INCLUDE",
        "MENU INCLUDE",
        "MENU DEFAULT",
        "INITRD",
        "LINUX",
        "KERNEL",
        "APPEND",
        "FDT",
        "FDTDIR",
        "FDTOVERLAYS",
        "LOCALBOOT",
        "DEFAULT",
        "ONTIMEOUT",
        "LABEL",
        "initrd",
        "linux",
        "options",
        "efi",
        "uki",
        "devicetree",
        "devicetree-overlay",
        "default",
        "timeout",
        "title",
        "machine-id",
        "architecture",
        "include",
        "kernel",
        "os_prefix",
        "cmdline",
    ] {
        with(vec![evil(words)], own(), vec![]);
        with(vec![], own(), vec![evil(words)]);
    }
    with(vec![], None, vec![]);
    with(vec![], own(), vec![line.clone()]);
    for changed in [
        evil(word),
        format!("{line} {EVIL}"),
        format!("{indent}{word}\u{a0}{value}"),
        format!("{indent}{word}\u{2003}{value}"),
        format!("{indent}{word}\0{value}"),
        format!("{indent}{word}\t{value}"),
        format!("{indent}{word}\u{b}{value}"),
        format!("{line}\r{indent}initrd {EVIL}"),
        format!("{line}\0"),
        format!("\u{feff}{line}"),
        format!("#{line}"),
        format!("{line}\u{85}{}", evil(word)),
        format!("{line}\u{2028}{}", evil(word)),
        format!("{indent}{} {value}", word.to_lowercase()),
        format!("{indent}{} {value}", word.to_uppercase()),
        format!("{indent}{word} {value}#{EVIL}"),
        format!("{indent}{word} {}", value.replace('/', "//")),
        format!("{indent}{word} {}", value.replace("nixos/", "nixos/../")),
        format!("{line} "),
        format!("{line} init=/bin/sh"),
    ] {
        with(vec![], Some(changed), vec![]);
    }
    made.into_iter().map(|lines| lines.join("\n").into_bytes()).collect()
}

/// What U-Boot would boot: every label with what belongs to it, the default, and what it would include.
fn uboot(text: &[u8]) -> Vec<String> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut seen = Vec::new();
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned());
    let mut queue: Vec<String> = lines.by_ref().collect();
    queue.reverse();
    let mut label: Option<Vec<(String, String)>> = None;
    while let Some(line) = queue.pop() {
        let line = line.trim_start_matches([' ', '\t', '\r', '\u{b}', '\u{c}']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let cut = line.find([' ', '\t', '\r', '\u{b}', '\u{c}']).unwrap_or(line.len());
        let (word, value) = (line[..cut].to_ascii_lowercase(), line[cut..].trim_start_matches([' ', '\t']));
        let of_label = [
            "linux",
            "kernel",
            "append",
            "initrd",
            "fdt",
            "devicetree",
            "fdtdir",
            "devicetreedir",
            "fdtoverlays",
            "devicetree-overlay",
            "localboot",
            "ipappend",
            "kaslrseed",
            "menu",
        ];
        match (&mut label, &*word) {
            (_, "label") => {
                label = Some(Vec::new());
                seen.push(format!("label {value}"));
            }
            (_, "menu") if value.to_ascii_lowercase().starts_with("include") => {
                seen.push(format!("include {value}"))
            }
            (Some(_), "menu") if value.to_ascii_lowercase().starts_with("label") => {}
            (Some(_), "menu") => seen.push(format!("menu {value}")),
            (Some(known), word) if of_label.contains(&word) => {
                let first =
                    ["initrd", "fdt", "devicetree", "fdtdir", "devicetreedir", "fdtoverlays"].contains(&word);
                if first && known.iter().any(|(key, _)| key == word) {
                    // Its value is taken for a word, which ends the label.
                    label = None;
                } else {
                    known.push((word.to_owned(), value.to_owned()));
                    seen.push(format!("{word} {value}"));
                }
            }
            (None, "default" | "ontimeout") | (Some(_), "default" | "ontimeout") => {
                label = None;
                seen.push(format!("default {value}"));
            }
            (_, "include") => {
                label = None;
                seen.push(format!("include {value}"));
            }
            // Neither a word of a label nor one of the file: the label is over, and what follows is passed over.
            _ => label = None,
        }
    }
    seen
}

/// What systemd-boot takes from an entry or from `loader.conf`.
fn systemd_boot(text: &[u8]) -> Vec<String> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let keys = [
        "linux",
        "efi",
        "uki",
        "initrd",
        "options",
        "devicetree",
        "devicetree-overlay",
        "architecture",
        "default",
        "preferred",
        "machine-id",
        "sort-key",
        "version",
    ];
    let mut seen = Vec::new();
    for line in text.split(|byte| [b'\n', b'\r'].contains(byte)) {
        let line = String::from_utf8_lossy(line).into_owned();
        let line = line.trim_matches([' ', '\t']);
        let Some(cut) = line.find([' ', '\t']) else { continue };
        let (key, value) = (&line[..cut], line[cut..].trim_start_matches([' ', '\t']));
        // Of one entry the usual place in the menu is the place without one; `loader.conf` names what boots.
        if keys.contains(&key) && (key, value) != ("sort-key", "nixos") {
            seen.push(format!("{key} {value}"));
        }
    }
    seen
}

/// What the firmware of a Raspberry Pi takes from config.txt: every line that is no comment.
fn config_txt(text: &[u8]) -> Vec<String> {
    let lines = text.split(|byte| [b'\n', b'\r', 0].contains(byte));
    let lines = lines.map(|line| String::from_utf8_lossy(line).trim().to_owned());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

fn passes(bytes: &[u8]) -> bool {
    let (keys, stop) = (Keys::nixos(), AtomicBool::new(false));
    let how = How { keys: &keys, signers: &[], threads: 1, stop: &stop, seen: &|_, _| {} };
    content(&bytes, &how).is_ok_and(|found| matches!(found.verdict, Verdict::Intact | Verdict::Changed))
}

/// Makes every evil card of one file; gives how many there were, and how many a boot loader sees otherwise.
fn each(image: &mut [u8], target: &Target, model: fn(&[u8]) -> Vec<String>) -> (usize, usize) {
    let before = image.to_vec();
    let right = model(&target.text);
    assert!(!right.is_empty(), "{}: the model sees nothing", target.name);
    let text = String::from_utf8(target.text.clone()).unwrap();
    let lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let (mut made, mut evil) = (0, 0);
    for n in 0..lines.len() {
        for changed in tricks(&lines, n) {
            if changed == target.text || changed.len() > target.room {
                continue;
            }
            made += 1;
            if model(&changed) == right {
                continue;
            }
            evil += 1;
            target.put(image, &changed);
            let shown = String::from_utf8_lossy(&changed).into_owned();
            assert!(!passes(image), "{}: line {n}: this boots otherwise and passes:\n{shown:?}", target.name);
        }
    }
    image.copy_from_slice(&before);
    (made, evil)
}

#[test]
fn what_a_boot_loader_reads_otherwise_is_found_on_thousands_of_cards() {
    let Some(demo) = demo() else { return };
    let (Some(debugfs), Some(_)) = (Tool::find("debugfs"), Tool::find("sfdisk")) else { return };
    let dir = temp();
    let (mut made, mut evil) = (0, 0);
    for board in ["rpi4", "uefi-aarch64"] {
        let path = dir.path().join(format!("{board}.img"));
        assert_eq!(run(&mut demo.compose(board, &demo.at("root"), &path)).code, 0);
        let spans = partitions(&path).unwrap();
        // As if a system had mounted it: then much may differ.
        let at = format!("{}?offset={}", path.display(), spans[1].0);
        debugfs.passes(&["-w", "-R", "set_super_value mnt_count 1", &at]);
        let mut image = std::fs::read(&path).unwrap();
        assert!(passes(&image), "{board}: a card that nobody attacked");
        let (fat, root) = (spans[0].0 as usize, spans[1].0 as usize);
        let targets: Vec<(Target, Reader)> = match board {
            "rpi4" => vec![
                (of_root("extlinux.conf", "/boot/extlinux/extlinux.conf", &path, &image, root), uboot),
                (of_fat("config.txt", b"[pi4]\n", &image, fat), config_txt),
            ],
            _ => vec![
                (of_fat("entry", b"title NixOS\n", &image, fat), systemd_boot),
                (of_fat("loader.conf", b"timeout ", &image, fat), systemd_boot),
            ],
        };
        for (target, model) in &targets {
            let same = image.clone();
            target.put(&mut image, &target.text);
            assert!(image == same, "{}: written as it was, it is what it was", target.name);
            let (cards, otherwise) = each(&mut image, target, *model);
            println!("{board}: {}: {cards} cards, {otherwise} of them boot otherwise", target.name);
            made += cards;
            evil += otherwise;
        }
    }
    assert!(made >= FEWEST && evil * 2 > made, "{made} cards, {evil} of them evil");
}
