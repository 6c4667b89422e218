//! Whole images with bytes changed at any place: looking at them ends, does not panic, and nothing that matters passes.

use crate::common::{Tool, demo, partitions, run, temp};
use nixflash::inspect::inspect;
use nixflash::store::Keys;
use nixflash::verify::card::{How, Verdict, content};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How many mutations each image gets.
const MUTATIONS: u64 = 1000;
/// No look may take longer; most take a hundredth of it.
const LONGEST: Duration = Duration::from_secs(20);

/// A sequence that is the same each time: splitmix64.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

fn verdict(bytes: &[u8]) -> (Option<Verdict>, Vec<(String, String)>) {
    let (keys, stop) = (Keys::nixos(), AtomicBool::new(false));
    let how = How { keys: &keys, signers: &[], threads: 1, stop: &stop, seen: &|_, _| {} };
    match content(&bytes, &how) {
        Ok(found) => (Some(found.verdict), found.damaged),
        Err(_) => (None, Vec::new()),
    }
}

/// Places of one kind, which are chosen as often as those of any other kind.
struct Class {
    name: &'static str,
    areas: Vec<Range<usize>>,
}

/// One change: where, the bytes that were there, what was done.
fn mutate(
    bytes: &mut [u8],
    area: Range<usize>,
    from: usize,
    sequence: &mut Sequence,
) -> (usize, Vec<u8>, &'static str) {
    let at = area.start + sequence.below(area.len() as u64) as usize;
    let (len, what) = match sequence.below(6) {
        0 | 1 => (1, "a bit"),
        2 => (1, "a byte"),
        3 => (4, "a word of ones"),
        4 => (4, "a word of zeros"),
        _ => (64, "64 bytes from elsewhere"),
    };
    let len = len.min(area.end - at);
    let old = bytes[at..at + len].to_vec();
    match what {
        "a bit" => bytes[at] ^= 1 << sequence.below(8),
        "a byte" => bytes[at] = sequence.below(256) as u8,
        "a word of ones" => bytes[at..at + len].fill(0xff),
        "a word of zeros" => bytes[at..at + len].fill(0),
        _ => bytes.copy_within(from..from + len, at),
    }
    (at, old, what)
}

/// Pieces of a range that hold something: those that are not zero.
fn filled(bytes: &[u8], range: Range<usize>, step: usize) -> Vec<Range<usize>> {
    let pieces = range.clone().step_by(step).map(|at| at..(at + step).min(range.end));
    pieces.filter(|piece| bytes[piece.clone()].iter().any(|byte| *byte != 0)).collect()
}

/// What there is on a card: a table, a FAT, an ext4 whose bitmaps and inode tables begin where debugfs says. Its contents lie
/// between the first group's descriptors, with the room for more of them, and the bitmaps.
fn classes(bytes: &[u8], spans: &[(u64, u64)], (bitmaps, inodes): (usize, usize)) -> Vec<Class> {
    let (fat, root) = (spans[0].0 as usize, spans[1].0 as usize);
    let (contents, bitmaps, tables) = (root + 129 * 4096, root + bitmaps * 4096, root + inodes * 4096);
    assert!(contents < bitmaps && bitmaps < tables);
    let table_end = fat.min(34 * 512);
    let class = |name, areas: Vec<Range<usize>>| Class { name, areas };
    let mut all = vec![
        class("the table", filled(bytes, 0..table_end, 512)),
        class("the FAT's head", filled(bytes, fat..fat + (1 << 20), 512)),
        class("the FAT's files", filled(bytes, fat + (1 << 18)..root, 4096)),
        class("the superblock", filled(bytes, root + 1024..root + 1024 + 0x278, 0x278)),
        class("descriptors", filled(bytes, root + 4096..contents, 4096)),
        class("bitmaps", filled(bytes, bitmaps..tables, 4096)),
        class("inodes", filled(bytes, tables..tables + (1 << 17), 256)),
        class("contents", filled(bytes, contents..bitmaps, 4096)),
    ];
    all.retain(|class| !class.areas.is_empty());
    all
}

/// Bytes behind the end of each file of an ext4, in its last block: debugfs says where that is. No file has them.
fn behind_files(debugfs: &Tool, image: &Path, root: u64, count: u64) -> Vec<Range<usize>> {
    let requests: String = (11..count).map(|inode| format!("stat <{inode}>\n")).collect();
    let script = image.with_extension("requests");
    std::fs::write(&script, requests).unwrap();
    let said =
        debugfs.passes(&["-f", script.to_str().unwrap(), &format!("{}?offset={root}", image.display())]);
    let mut behind = Vec::new();
    let has_end = |one: &&str| one.contains("Type: regular") || one.contains("Type: symlink");
    for one in said.split("debugfs: stat").filter(has_end) {
        let after =
            |word: &str| one.split(word).nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        let size: usize = after("Size: ").parse().unwrap();
        let Some(extents) = one.split("EXTENTS:").nth(1) else { continue };
        let last = extents
            .split([':', '-', ',', '(', ')'])
            .map(str::trim)
            .rfind(|word| word.parse::<usize>().is_ok());
        // A file without a byte has no block.
        let Some(block) = last.and_then(|word| word.parse::<usize>().ok()) else { continue };
        if !size.is_multiple_of(4096) {
            let start = root as usize + block * 4096;
            behind.push(start + size % 4096..start + 4096);
        }
    }
    behind
}

/// The blocks of a file, by debugfs.
fn blocks_of(debugfs: &Tool, image: &Path, root: u64, file: &str) -> Vec<Range<usize>> {
    let request = format!("blocks {file}");
    let said = debugfs.passes(&["-R", &request, &format!("{}?offset={root}", image.display())]);
    let numbers = said.split_whitespace().filter_map(|word| word.parse::<usize>().ok());
    let start = |block: usize| root as usize + block * 4096;
    numbers.map(|block| start(block)..start(block + 1)).collect()
}

/// The root directory of a FAT16: its boot sector says where.
fn fat_root(bytes: &[u8], fat: usize) -> Range<usize> {
    let number = |at: usize| usize::from(u16::from_le_bytes([bytes[fat + at], bytes[fat + at + 1]]));
    let start = fat + (number(14) + usize::from(bytes[fat + 16]) * number(22)) * 512;
    start..start + number(17) * 32
}

/// Whether nobody reads the bytes: what is behind files, and the gaps of formats, each of which is zero.
fn is_idle(name: &str, at: usize, old: &[u8], (behind, spans): (&[Range<usize>], &[(u64, u64)])) -> bool {
    let is_zero = old.iter().all(|byte| *byte == 0);
    let in_root = at.wrapping_sub(spans[1].0 as usize);
    let is_gpt = spans[0].0 == 1 << 20;
    let in_fat = at.wrapping_sub(spans[0].0 as usize);
    match name {
        // The second FSInfo, which nobody reads; the rest of a cluster, of reserved sectors, of the one descriptor's block.
        "the FAT's head" if is_gpt && (7 * 512..8 * 512).contains(&in_fat) => true,
        "descriptors" => is_zero && (0x1020..0x2000).contains(&in_root),
        "the FAT's head" | "the FAT's files" => is_zero && !(32 * 512..=1 << 15).contains(&in_fat),
        // Who reads a GPT reads of its MBR that it is there, and of the header's sector the header.
        "the table" if is_gpt => (440..512).contains(&at) || (is_zero && (512 + 92..1024).contains(&at)),
        "contents" => {
            let inside = |byte: usize| behind.iter().any(|range| range.contains(&byte));
            is_zero && (at..at + old.len()).all(inside)
        }
        _ => false,
    }
}

fn sweep(board: &str, options: &[&str]) {
    let (Some(demo), Some(debugfs)) = (demo(), Tool::find("debugfs")) else { return };
    let dir = temp();
    let image = dir.path().join("card.img");
    let done = run(demo.compose(board, &demo.at("root"), &image).args(options));
    assert_eq!(done.code, 0, "{}", done.err);
    let Some(spans) = partitions(&image) else { return };
    let root = spans[1].0;
    let stats = debugfs.passes(&["-R", "stats", &format!("{}?offset={root}", image.display())]);
    let number = |word: &str, end: char| -> u64 {
        stats.split(word).nth(1).unwrap().split(end).next().unwrap().trim().parse().unwrap()
    };
    let places = ["block bitmap at ", "inode table at "].map(|word| {
        let text = stats.split(word).nth(1).unwrap();
        text.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    });
    let used = number("Inode count:", '\n') - number("Free inodes:", '\n') + 1;
    let mut behind = behind_files(&debugfs, &image, root, used);
    assert!(behind.len() > 50, "{behind:?}");
    // Between the rows of a page of SQLite; SQLite itself looks at the rest. And what the resize inode maps, which only
    // e2fsck looks at.
    behind.extend(blocks_of(&debugfs, &image, root, "/nix/var/nix/db/db.sqlite"));
    behind.extend(blocks_of(&debugfs, &image, root, "<7>").into_iter().take(1));
    // The users of the journal, of which one of its own has none.
    let journal = blocks_of(&debugfs, &image, root, "<8>").swap_remove(0);
    behind.push(journal.start + 0x100..journal.start + 0x400);
    let mut bytes = std::fs::read(&image).unwrap();
    assert_eq!(verdict(&bytes).0, Some(Verdict::Intact));
    let classes = classes(&bytes, &spans, places.into());
    let mut sequence = Sequence(7);
    let (mut longest, mut idle, mut missed) = (Duration::ZERO, 0, Vec::new());
    for n in 0..MUTATIONS {
        let class = sequence.of(&classes);
        let (area, from) = (sequence.of(&class.areas).clone(), sequence.of(&class.areas).start);
        let from = from.min(bytes.len() - 64);
        let (at, old, what) = mutate(&mut bytes, area, from, &mut sequence);
        let is_same = bytes[at..at + old.len()] == old;
        let began = Instant::now();
        let (found, _) = verdict(&bytes);
        let report = inspect(&&bytes[..]).unwrap();
        assert!(report.text().len() < 1 << 20);
        longest = longest.max(began.elapsed());
        if found == Some(Verdict::Intact) && !is_same {
            // Times of files on the FAT, on which nothing depends; in FAT16 the high half of a cluster lies among them.
            let (directory, of_entry) = (fat_root(&bytes, spans[0].0 as usize), at % 32);
            let is_entry = directory.contains(&at) || bytes[at - of_entry..].starts_with(b"..         ");
            let is_time = is_entry && of_entry >= 13 && of_entry + old.len() <= 26;
            if is_time || is_idle(class.name, at, &old, (&behind, &spans)) {
                idle += 1;
            } else {
                let part = spans.iter().rposition(|(start, _)| *start <= at as u64);
                let within = part.map_or(at as u64, |part| at as u64 - spans[part].0);
                let (old, now) = (&old[..old.len().min(8)], &bytes[at..at + old.len().min(8)]);
                missed.push(format!("{n}: {what} in {}: {part:?} {within:#x} {old:x?} {now:x?}", class.name));
            }
        }
        bytes[at..at + old.len()].copy_from_slice(&old);
    }
    for _ in 0..20 {
        let len = sequence.below(bytes.len() as u64) as usize;
        let (found, _) = verdict(&bytes[..len]);
        inspect(&&bytes[..len]).unwrap();
        assert_ne!(found, Some(Verdict::Intact), "cut to {len} bytes");
    }
    println!("{board}: {MUTATIONS} mutations, {idle} of bytes that nobody reads, {longest:?} the longest");
    assert!(missed.is_empty(), "{} missed\n{}", missed.len(), missed.join("\n"));
    assert!(longest < LONGEST, "{longest:?}");
}

#[test]
fn no_mutation_of_a_card_with_an_mbr_passes_for_intact() {
    sweep("rpi4", &[]);
}

#[test]
fn no_mutation_of_a_card_with_a_gpt_passes_for_intact() {
    sweep("uefi-aarch64", &[]);
}
