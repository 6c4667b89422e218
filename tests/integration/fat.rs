//! FAT volumes, judged by `fsck.fat`, `mtools` and `fatfs`; and what hostile volumes do to the reader.
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use crate::common::{Tool, image_of, temp};
use nixflash::extent::{Extent, Fill, Layout};
use nixflash::format::disk::fat;
use nixflash::format::disk::fat::read;
use nixflash::format::disk::fat::read::ChainFault;
use nixflash::format::disk::fat::{Fat, FatType, Kind, Label, Options};
use nixflash::tree::{Attrs, Directory, Kind as NodeKind, Node};
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// 2024-02-29 12:34:56 UTC.
const MTIME: u32 = 1_709_210_096;

/// The bytes of a file: its number and the position decide.
fn bytes(file: u32, at: u64, len: u64) -> Vec<u8> {
    (at..at + len).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 7) as u8 ^ file as u8).collect()
}

/// A tree out of paths and lengths; a path with a slash at the end is an empty directory.
fn tree(files: &[(String, u64)]) -> Node<u32> {
    let attrs = Attrs { mode: 0o755, uid: 0, gid: 0, mtime: MTIME };
    let mut root = Node { attrs, kind: NodeKind::Directory(Directory::default()) };
    for (number, (path, len)) in files.iter().enumerate() {
        let mut node = &mut root;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next().filter(|part| !part.is_empty()) {
            let NodeKind::Directory(directory) = &mut node.kind else {
                panic!("{path}: a file is in the way")
            };
            if directory.get(part.as_bytes()).is_none() {
                let kind = match parts.peek() {
                    None => NodeKind::File { len: *len, content: number as u32 },
                    Some(_) => NodeKind::Directory(Directory::default()),
                };
                directory.insert(part.as_bytes(), Node { attrs, kind }).unwrap();
            }
            node = directory.get_mut(part.as_bytes()).unwrap();
        }
    }
    root
}

/// What a Raspberry Pi's firmware partition looks like, and names that make trouble.
fn firmware() -> Vec<(String, u64)> {
    let mut files: Vec<(String, u64)> =
        (0..330).map(|n| (format!("overlays/vc4-kms-dsi-overlay-{n:03}.dtbo"), 1200 + n)).collect();
    files.extend((0..30).map(|n| (format!("names/collision number {n}.text"), n % 3)));
    for (path, len) in [
        ("config.txt", 2000),
        ("BOOTCODE.BIN", 52_000),
        ("start4.elf", 2_200_000),
        ("kernel8.img", 3_000_000),
        ("empty", 0),
        ("one", 1),
        ("sector", 512),
        ("cluster", 2048),
        ("cluster+1", 2049),
        ("names/äöü中.txt", 10),
        ("names/+plus,semi;eq=.txt", 10),
        ("names/.hidden", 10),
        ("names/MiXeD.CaSe", 10),
        ("names/𝄞 clef.mid", 10),
        ("names/COLLIS~1.TEX", 10),
        ("a/b/c/d/e/f/g/h/deep.txt", 77),
        ("nothing/", 0),
        ("EFI/BOOT/BOOTAA64.EFI", 90_000),
    ] {
        files.push((path.to_owned(), len));
    }
    files.push((format!("names/{}", "long".repeat(63)), 3));
    files
}

/// The same without the one name that `mtools` cannot write: it knows no pairs of surrogates.
fn firmware_for_mtools() -> Vec<(String, u64)> {
    firmware().into_iter().filter(|(path, _)| !path.contains('𝄞')).collect()
}

fn options(size: u64) -> Options {
    let label = Label::new("FIRMWARE").unwrap();
    Options { size, label, volume_id: 0x2178_694e, kind: Kind::Auto, hidden_sectors: 16_384, epoch: MTIME }
}

fn contents(files: &[(String, u64)]) -> BTreeMap<String, Vec<u8>> {
    let files = files.iter().enumerate().filter(|(_, (path, _))| !path.ends_with('/'));
    files.map(|(number, (path, len))| (path.clone(), bytes(number as u32, 0, *len))).collect()
}

fn write(plan: &Fat<u32>, path: &Path, dirt: Option<u8>) {
    image_of(plan, path, dirt, &bytes);
}

fn file_name(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All files below a directory, read by the host.
fn host_files(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            host_files(&entry.path(), &format!("{path}/"), found);
        } else {
            found.insert(path, std::fs::read(entry.path()).unwrap());
        }
    }
}

fn fatfs_files(dir: &fatfs::Dir<'_, std::fs::File>, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in dir.iter() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == "." || name == ".." {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.is_dir() {
            fatfs_files(&entry.to_dir(), &format!("{path}/"), found);
        } else {
            let mut bytes = Vec::new();
            entry.to_file().read_to_end(&mut bytes).unwrap();
            found.insert(path, bytes);
        }
    }
}

/// Files of a volume and their lengths.
fn listed(node: &Node<read::FileRef>, prefix: &str, found: &mut BTreeMap<String, u64>) {
    match &node.kind {
        NodeKind::File { len, .. } => {
            found.insert(prefix.trim_end_matches('/').to_owned(), *len);
        }
        NodeKind::Directory(directory) => {
            for (name, node) in directory.iter() {
                listed(node, &format!("{prefix}{}/", std::str::from_utf8(name).unwrap()), found);
            }
        }
        NodeKind::Symlink(_) => panic!("{prefix}: FAT has no symlinks"),
    }
}

fn own_files(image: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let volume = read::open(image).unwrap();
    let mut found = BTreeMap::new();
    listed(volume.list(), "", &mut found);
    let read = |(path, len): (String, u64)| {
        let bytes = volume.read(&path, len).unwrap();
        (path, bytes)
    };
    found.into_iter().map(read).collect()
}

#[test]
fn every_size_of_volume_is_clean_and_reads_back() {
    let files = firmware();
    let (root, expected) = (tree(&files), contents(&files));
    let dir = temp();
    let path = dir.path().join("volume.img");
    let fsck = Tool::find("fsck.fat");
    for (size, fat_type) in [
        (16 * MIB, FatType::Fat16),
        (30 * MIB, FatType::Fat16),
        (64 * MIB, FatType::Fat16),
        (128 * MIB, FatType::Fat16),
        (256 * MIB, FatType::Fat16),
        (300 * MIB, FatType::Fat16),
        (511 * MIB, FatType::Fat16),
        (512 * MIB, FatType::Fat32),
        (513 * MIB, FatType::Fat32),
        (1024 * MIB, FatType::Fat32),
        (2150 * MIB + 512, FatType::Fat32),
    ] {
        for dirt in [None, Some(0xaa)] {
            let plan = fat::plan(&root, &options(size)).unwrap();
            assert_eq!(plan.summary().kind, fat_type);
            write(&plan, &path, dirt);
            if let Some(fsck) = &fsck {
                let said = fsck.passes(&["-n", file_name(&path)]);
                let (used, all) = (
                    plan.summary().clusters - plan.summary().free_bytes / plan.summary().cluster_bytes,
                    plan.summary().clusters,
                );
                assert!(said.contains(&format!("{used}/{all} clusters")), "{size} {dirt:?}: {said}");
                assert_eq!(said.lines().count(), 2, "nothing to complain about: {size} {dirt:?}: {said}");
            }
            let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
            let second = fatfs::FileSystem::new(file, fatfs::FsOptions::new()).unwrap();
            let mut found = BTreeMap::new();
            fatfs_files(&second.root_dir(), "", &mut found);
            assert!(found == expected, "{size} {dirt:?}: fatfs reads what was written");
            assert_eq!(second.volume_label(), "FIRMWARE");
            assert_eq!(second.read_volume_label_from_root_dir().unwrap().as_deref(), Some("FIRMWARE"));
            assert_eq!(
                second.stats().unwrap().free_clusters(),
                (plan.summary().free_bytes / plan.summary().cluster_bytes) as u32
            );
        }
    }
}

#[test]
fn mtools_reads_what_was_written() {
    let (Some(env), Some(_), Some(minfo)) = (Tool::find("env"), Tool::find("mcopy"), Tool::find("minfo"))
    else {
        return;
    };
    let files = firmware_for_mtools();
    let (root, expected) = (tree(&files), contents(&files));
    for (size, kind) in [(30 * MIB, Kind::Auto), (64 * MIB, Kind::Fat32), (600 * MIB, Kind::Auto)] {
        let dir = temp();
        let (image, out) = (dir.path().join("volume.img"), dir.path().join("out"));
        std::fs::create_dir(&out).unwrap();
        write(&fat::plan(&root, &Options { kind, ..options(size) }).unwrap(), &image, Some(0xaa));
        env.passes(&["LC_ALL=C.UTF-8", "mcopy", "-s", "-m", "-i", file_name(&image), "::*", file_name(&out)]);
        let mut found = BTreeMap::new();
        host_files(&out, "", &mut found);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(found == expected, "{size}");
        assert!(out.join("nothing").is_dir());
        let listing = env.passes(&["LC_ALL=C.UTF-8", "TZ=UTC", "mdir", "-i", file_name(&image), "::"]);
        for expected in [
            "Volume in drive : is FIRMWARE",
            "2178-694E",
            "CONFIG   TXT      2000 2024-02-29  12:34  config.txt",
        ] {
            assert!(listing.contains(expected), "{expected}: {listing}");
        }
        let info = minfo.passes(&["-i", file_name(&image), "::"]);
        assert!(info.contains("hidden sectors: 16384"), "{info}");
        assert!(info.contains("disk label=\"FIRMWARE   \""), "{info}");
    }
}

#[test]
fn the_reader_agrees_with_the_plan() {
    let files = firmware();
    let root = tree(&files);
    for kind in [Kind::Fat16, Kind::Fat32] {
        let plan = fat::plan(&root, &Options { kind, ..options(40 * MIB) }).unwrap();
        let image = rendered(&plan);
        let volume = read::open(&image[..]).unwrap();
        assert_eq!(volume.label(), "FIRMWARE");
        assert_eq!((volume.volume_id(), volume.size()), (0x2178_694e, 40 * MIB));
        assert_eq!(
            (volume.kind(), volume.cluster_bytes()),
            (plan.summary().kind, plan.summary().cluster_bytes)
        );
        assert_eq!(volume.free_bytes(), plan.summary().free_bytes);
        assert_eq!(volume.read("CONFIG.TXT", 2000).unwrap().len(), 2000, "in any case");
        assert_eq!(volume.list().at([&b"config.txt"[..]]).unwrap().attrs.mtime, MTIME);
        assert!(matches!(
            volume.read("config.txt", 1999),
            Err(read::Error::TooLong { len: 2000, limit: 1999, .. })
        ));
        for path in [
            "nope",
            "overlays",
            "overlays/..",
            "overlays/../config.txt",
            ".",
            "",
            "/",
            "config.txt/x",
            "/config.txt",
        ] {
            assert!(matches!(volume.read(path, 9999), Err(read::Error::NoFile { .. })), "{path:?}");
        }
        assert_eq!(own_files(&image), contents(&files));
    }
}

#[test]
fn the_reader_reads_volumes_of_mkfs_and_mtools() {
    let (Some(env), Some(_), Some(mkfs)) = (Tool::find("env"), Tool::find("mcopy"), Tool::find("mkfs.fat"))
    else {
        return;
    };
    let dir = temp();
    let (image, source) = (dir.path().join("volume.img"), dir.path().join("source"));
    let mut files = firmware_for_mtools();
    // mtools asks what to do when a short name that it made up is in the way, and sometimes finds
    // "no directory slots" for the longest name.
    files.retain(|(path, _)| !path.contains('~') && path.len() < 100);
    for (path, bytes) in contents(&files) {
        let path = source.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    for (mib, arguments) in
        [(30, &["-F", "16"][..]), (64, &["-F", "32"]), (64, &["-F", "16", "-S", "1024"]), (64, &["-f", "1"])]
    {
        std::fs::File::create(&image).unwrap().set_len(mib * MIB).unwrap();
        mkfs.passes(&[arguments, &["-n", "CARD", "-i", "12345678", file_name(&image)]].concat());
        let names: Vec<_> = std::fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path()).collect();
        let names: Vec<&str> = names.iter().map(|path| file_name(path)).collect();
        env.passes(
            &[&["LC_ALL=C.UTF-8", "mcopy", "-s", "-i", file_name(&image)][..], &names, &["::"]].concat(),
        );
        let bytes = std::fs::read(&image).unwrap();
        let volume = read::open(&bytes[..]).unwrap();
        assert_eq!((volume.label(), volume.volume_id()), ("CARD", 0x1234_5678), "{arguments:?}");
        assert_eq!(own_files(&bytes), contents(&files), "{arguments:?}");
    }
}

#[test]
fn the_layout_is_ascending_reproducible_and_needs_no_content() {
    let files = firmware();
    let first = fat::plan(&tree(&files), &options(30 * MIB)).unwrap();
    let contents = first.extents().iter().filter_map(|extent| match extent.fill {
        Fill::Content { content, .. } => Some(content),
        Fill::Encoded | Fill::Zeros => None,
    });
    let mut in_order = Vec::new();
    walk(&tree(&files), &mut in_order);
    assert_eq!(contents.collect::<Vec<_>>(), in_order, "files come as the tree is walked");
    let mut last = 0;
    for Extent { offset, len, .. } in first.extents() {
        assert!(*offset >= last && *len > 0 && offset.is_multiple_of(512) && len.is_multiple_of(512));
        last = offset + len;
    }
    let second = fat::plan(&tree(&files), &options(30 * MIB)).unwrap();
    assert!(rendered(&first) == rendered(&second));
}

fn walk(node: &Node<u32>, found: &mut Vec<u32>) {
    match &node.kind {
        NodeKind::File { len, content } if *len > 0 => found.push(*content),
        NodeKind::Directory(directory) => directory.iter().for_each(|(_, node)| walk(node, found)),
        NodeKind::File { .. } | NodeKind::Symlink(_) => {}
    }
}

#[test]
fn a_full_volume_is_clean_and_one_byte_more_is_refused() {
    let fsck = Tool::find("fsck.fat");
    for kind in [Kind::Fat16, Kind::Fat32] {
        let options = Options { kind, ..options(40 * MIB) };
        let empty = fat::plan(&tree(&[]), &options).unwrap();
        let room = empty.summary().free_bytes;
        let full = fat::plan(&tree(&[("all".to_owned(), room)]), &options).unwrap();
        assert_eq!(full.summary().free_bytes, 0);
        let dir = temp();
        let path = dir.path().join("volume.img");
        write(&full, &path, None);
        if let Some(fsck) = &fsck {
            fsck.passes(&["-n", file_name(&path)]);
        }
        own_files(&std::fs::read(&path).unwrap());
        let error = fat::plan(&tree(&[("all".to_owned(), room + 1)]), &options).err();
        let cluster = full.summary().cluster_bytes;
        let given = full.summary().clusters * cluster;
        assert_eq!(error, Some(fat::Error::Full { needed: given + cluster, given, cluster }));
    }
}

#[test]
fn a_directory_of_65536_slots_is_clean() {
    // 21,844 names of three slots each, `.` and `..`: one extent more than a MiB long is cut in two.
    let files: Vec<_> = (0..21_844).map(|n| (format!("many/a long name for {n:05}"), 0)).collect();
    let plan = fat::plan(&tree(&files), &options(64 * MIB)).unwrap();
    let dir = temp();
    let path = dir.path().join("volume.img");
    write(&plan, &path, Some(0xaa));
    if let Some(fsck) = Tool::find("fsck.fat") {
        fsck.passes(&["-n", file_name(&path)]);
    }
    let volume = read::open(std::fs::read(&path).unwrap().leak() as &[u8]).unwrap();
    let NodeKind::Directory(many) = &volume.list().at([&b"many"[..]]).unwrap().kind else {
        panic!("not a directory")
    };
    assert_eq!(many.len(), 21_844);
    let more: Vec<_> = (0..21_845).map(|n| (format!("many/a long name for {n:05}"), 0)).collect();
    let error = fat::plan(&tree(&more), &options(64 * MIB)).err();
    assert_eq!(
        error,
        Some(fat::Error::DirectoryTooLong { path: "many".to_owned(), needed: 65_537, given: 65_536 })
    );
}

#[test]
fn what_fat_cannot_hold_is_refused_with_the_path() {
    let one = |path: &str, len| {
        fat::plan(&tree(&[(path.to_owned(), len)]), &options(30 * MIB)).err().map(|e| e.to_string())
    };
    assert_eq!(one("a/b:c", 0).as_deref(), Some("\"a/b:c\": the name holds ':', which FAT forbids"));
    let four_gib = "\"big\" has 4294967296 bytes, FAT holds at most 4294967295";
    assert_eq!(one("big", 1 << 32).as_deref(), Some(four_gib));
    let deep = "d/".repeat(130);
    assert_eq!(one(&deep, 0).map(|e| e.ends_with("is more than 128 directories deep")), Some(true));
    let case = tree(&[("d/Read me".to_owned(), 0), ("d/READ ME".to_owned(), 0)]);
    let error = fat::plan(&case, &options(30 * MIB)).err().map(|e| e.to_string());
    let expected = "\"d/READ ME\" and \"Read me\" differ only in case, which FAT does not tell apart";
    assert_eq!(error.as_deref(), Some(expected));
    let mut link = tree(&[("d/file".to_owned(), 0)]);
    let NodeKind::Directory(root) = &mut link.kind else { panic!("not a directory") };
    root.insert(b"link", Node::store_symlink(*b"target")).unwrap();
    let error = fat::plan(&link, &options(30 * MIB)).err();
    assert_eq!(error, Some(fat::Error::Symlink { path: "link".to_owned() }));
    let many: Vec<_> = (0..256).map(|n| (format!("lower{n}"), 0)).collect();
    let error = fat::plan(&tree(&many), &options(30 * MIB)).err();
    let path = String::new();
    assert_eq!(error, Some(fat::Error::DirectoryTooLong { path, needed: 513, given: 512 }), "with the label");
    let plain = Options { label: Label::new("").unwrap(), ..options(30 * MIB) };
    assert!(fat::plan(&tree(&many), &plain).is_ok(), "without a label there is room");
}

/// The volume in memory, over 0xaa.
fn rendered(plan: &Fat<u32>) -> Vec<u8> {
    let mut image = vec![0xaa; plan.len() as usize];
    for (index, extent) in plan.extents().iter().enumerate() {
        let out = &mut image[extent.offset as usize..(extent.offset + extent.len) as usize];
        match extent.fill {
            Fill::Zeros => out.fill(0),
            Fill::Encoded => plan.encode(index, out),
            Fill::Content { content, at, len } => {
                out.fill(0);
                out[..len as usize].copy_from_slice(&bytes(content, at, len));
            }
        }
    }
    image
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_set_of_names_is_clean_and_reads_back(
        names in proptest::collection::btree_set("[a-eA-E~1-2._ +é中𝄞;=\\[-]{1,30}", 1..40),
        dirs in 1usize..4,
    ) {
        let mut folded = std::collections::BTreeSet::new();
        let usable = |name: &str| !name.starts_with(' ') && !name.ends_with([' ', '.']);
        let names = names.into_iter().filter(|name| usable(name) && folded.insert(name.to_uppercase()));
        let files: Vec<_> = names.enumerate().map(|(n, name)| (format!("{}/{name}", ["x", "y y", "Z"][n % dirs]), n as u64 * 700)).collect();
        let plan = fat::plan(&tree(&files), &Options { label: Label::new("").unwrap(), ..options(5 * MIB) }).unwrap();
        let dir = temp();
        let path = dir.path().join("volume.img");
        write(&plan, &path, Some(0xaa));
        if let Some(fsck) = Tool::find("fsck.fat") {
            let said = fsck.passes(&["-n", file_name(&path)]);
            prop_assert_eq!(said.lines().count(), 2, "{}", said);
        }
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let second = fatfs::FileSystem::new(file, fatfs::FsOptions::new()).unwrap();
        let mut found = BTreeMap::new();
        fatfs_files(&second.root_dir(), "", &mut found);
        prop_assert_eq!(&found, &contents(&files));
        prop_assert_eq!(own_files(&std::fs::read(&path).unwrap()), found);
    }
}

/// A small sound volume with directories, several clusters per file, long names.
fn victim(kind: Kind) -> (Vec<u8>, Fat<u32>) {
    let files: Vec<_> = [
        ("a long name.txt", 3000),
        ("B.TXT", 5000),
        ("dir/sub/x", 1500),
        ("dir/another long name", 600),
        ("dir/E", 0),
    ]
    .map(|(path, len)| (path.to_owned(), len))
    .into();
    let size = if kind == Kind::Fat16 { 3 * MIB } else { 34 * MIB };
    let plan = fat::plan(&tree(&files), &Options { kind, ..options(size) }).unwrap();
    (rendered(&plan), plan)
}

/// Reads all that can be read; gives how many files.
fn exercise(image: &[u8]) -> Result<usize, read::Error> {
    let volume = read::open(image)?;
    let mut found = BTreeMap::new();
    listed(volume.list(), "", &mut found);
    for (path, len) in &found {
        assert_eq!(volume.read(path, MIB * 64)?.len() as u64, *len, "{path}");
    }
    Ok(found.len())
}

#[test]
fn mutated_volumes_neither_panic_nor_hang() {
    for (kind, rounds) in [(Kind::Fat16, 20_000), (Kind::Fat32, 20_000)] {
        let (mut image, plan) = victim(kind);
        let encoded: Vec<_> =
            plan.extents().iter().filter(|extent| extent.fill == Fill::Encoded).copied().collect();
        let mut random = Random(0x6e69_7866);
        let (mut sound, mut slowest) = (0, Duration::ZERO);
        for round in 0..rounds {
            let mut saved = Vec::new();
            for _ in 0..=random.below(4) {
                let extent = encoded[random.below(encoded.len() as u64) as usize];
                // Most of a FAT and of a directory is zeros: the front is where it hurts.
                let front = extent.len.min(64 << random.below(4));
                let at = (extent.offset + random.below(front)) as usize;
                saved.push((at, image[at]));
                image[at] = match random.below(4) {
                    0 => [0, 1, 0xff, 0xe5, 0x7f, 0x80][random.below(6) as usize],
                    1 => image[at] ^ 1 << random.below(8),
                    2 => image[at].wrapping_add(1),
                    _ => random.below(256) as u8,
                };
            }
            let start = Instant::now();
            sound += usize::from(exercise(&image).is_ok());
            slowest = slowest.max(start.elapsed());
            for (at, byte) in saved.into_iter().rev() {
                image[at] = byte;
            }
            assert!(slowest < Duration::from_secs(2), "round {round} took {slowest:?}");
        }
        println!("{kind:?}: {sound} of {rounds} mutations are harmless, the slowest took {slowest:?}");
        assert!(sound > 0 && sound < rounds);
    }
}

/// A generator whose numbers are the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[test]
fn truncated_volumes_are_refused() {
    for kind in [Kind::Fat16, Kind::Fat32] {
        let (image, _) = victim(kind);
        for len in (0..2000).chain((0..image.len()).step_by(image.len() / 50)) {
            assert!(read::open(&image[..len]).is_err(), "{kind:?} {len}");
        }
    }
}

/// Sets an entry of the first FAT.
fn set_fat(image: &mut [u8], kind: Kind, cluster: usize, value: u32) {
    let start = usize::from(u16::from_le_bytes([image[14], image[15]])) * 512;
    let width = if kind == Kind::Fat16 { 2 } else { 4 };
    image[start + cluster * width..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
}

#[test]
fn loops_and_cross_links_are_named() {
    for kind in [Kind::Fat16, Kind::Fat32] {
        let (good, plan) = victim(kind);
        assert_eq!(exercise(&good).unwrap(), 5);
        let first = plan.extents().iter().find(|extent| matches!(extent.fill, Fill::Content { .. })).unwrap();
        let data = plan.len() - plan.summary().clusters * plan.summary().cluster_bytes;
        let data = data / plan.summary().cluster_bytes * plan.summary().cluster_bytes;
        // "B.TXT" comes first of the files and has ten clusters of 512 bytes.
        assert_eq!(plan.summary().cluster_bytes, 512);
        let file = ((first.offset - data) / 512 + 2) as usize;
        let directory = file - 2;
        for (cluster, value, expected) in [
            (file + 1, file as u32, ChainFault::UsedTwice(file as u32)),
            (file + 1, 1, ChainFault::OutOfRange(1)),
            (file + 1, 0, ChainFault::OutOfRange(0)),
            (file + 1, 0x0fff_fff7 & mask(kind), ChainFault::OutOfRange(0x0fff_fff7 & mask(kind))),
            (file + 1, 0x0fff_ffff & mask(kind), ChainFault::Length { expected: 10, len: 5000 }),
            (file + 9, file as u32 + 10, ChainFault::Length { expected: 10, len: 5000 }),
            (file + 9, 60_000, ChainFault::OutOfRange(60_000)),
            (directory, directory as u32, ChainFault::UsedTwice(directory as u32)),
            (directory, file as u32, ChainFault::UsedTwice(file as u32)),
        ] {
            let mut bad = good.clone();
            set_fat(&mut bad, kind, cluster, value);
            if value == 60_000 && kind == Kind::Fat32 {
                // A cluster of that volume, and a free one.
                assert!(exercise(&bad).is_err());
                continue;
            }
            match read::open(&bad[..]).err() {
                Some(read::Error::Chain { fault, .. }) => {
                    assert_eq!(fault, expected, "{kind:?} {cluster} {value}")
                }
                other => panic!("{kind:?} {cluster} {value}: {other:?}"),
            }
        }
    }
}

fn mask(kind: Kind) -> u32 {
    if kind == Kind::Fat16 { 0xffff } else { u32::MAX }
}

#[test]
fn bad_boot_sectors_name_the_field() {
    let (fat16, _) = victim(Kind::Fat16);
    let (fat32, _) = victim(Kind::Fat32);
    for (image, at, bytes, field) in [
        (&fat16, 0x1fe, &[0, 0][..], "Signature_word"),
        (&fat16, 0x00b, &[0, 0], "BPB_BytsPerSec"),
        (&fat16, 0x00b, &[1, 2], "BPB_BytsPerSec"),
        (&fat16, 0x00d, &[0], "BPB_SecPerClus"),
        (&fat16, 0x00d, &[3], "BPB_SecPerClus"),
        (&fat16, 0x00e, &[0, 0], "BPB_RsvdSecCnt"),
        (&fat16, 0x010, &[0], "BPB_NumFATs"),
        (&fat16, 0x010, &[255], "BPB_NumFATs"),
        (&fat16, 0x011, &[0, 0], "BPB_RootEntCnt"),
        (&fat16, 0x011, &[1, 2], "BPB_RootEntCnt"),
        (&fat16, 0x015, &[0], "BPB_Media"),
        (&fat16, 0x013, &[0, 0, 0xf8], "BPB_TotSec32"),
        (&fat16, 0x013, &[1, 0], "BPB_TotSec32"),
        (&fat16, 0x016, &[1, 0], "the number of clusters"),
        (&fat16, 0x016, &[0xff, 0xff], "BPB_TotSec32"),
        (&fat16, 0x00d, &[64], "the number of clusters"),
        (&fat32, 0x024, &[0xff; 4], "BPB_FATSz32"),
        (&fat32, 0x024, &[0; 4], "BPB_FATSz32"),
        (&fat32, 0x028, &[0x81, 0, 0, 0], "signed"),
        (&fat32, 0x028, &[0x82, 0], "BPB_ExtFlags"),
        (&fat32, 0x02a, &[1, 0], "BPB_FSVer"),
        (&fat32, 0x02c, &[0, 0, 0, 0], "BPB_RootClus"),
        (&fat32, 0x02c, &[0xff; 4], "BPB_RootClus"),
        (&fat32, 0x030, &[0, 0], "BPB_FSInfo"),
        (&fat32, 0x030, &[0xff, 0xff], "BPB_FSInfo"),
        (&fat32, 0x030, &[3, 0], "FSI_LeadSig"),
        (&fat32, 0x032, &[0xff, 0xff], "BPB_BkBootSec"),
    ] {
        let mut bad = image.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        match read::open(&bad[..]) {
            Err(read::Error::Boot { field: found, .. }) => assert_eq!(found, field, "{at:#x} {bytes:x?}"),
            // The second FAT is as good as the first.
            Ok(_) if field == "signed" => {}
            other => panic!("{at:#x} {bytes:x?}: {:?}", other.err()),
        }
    }
    let mut long = fat32;
    long[0x020..0x024].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(read::open(&long[..]).is_err());
}
