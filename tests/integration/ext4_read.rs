//! The ext4 reader against file systems that mke2fs made, and against damage.

use crate::common::{Tool, image_of, temp};
use nixflash::format::disk::ext4;
use nixflash::format::disk::ext4::read::{Error, Ext4, Inode, Kind};
use nixflash::stream::ReadAt;
use nixflash::tree::{Directory, Node};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A tree with what readers get wrong: holes, long targets, many names, names that are no text.
fn tree(root: &Path, pieces: u64) {
    let pattern = |len: usize| (0..len).map(|n| (n * 7 % 251) as u8).collect::<Vec<u8>>();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    for len in [0, 1, 1023, 1024, 1025, 4095, 4096, 4097, 70_000, 300_000] {
        fs::write(root.join(format!("a/file-{len}")), pattern(len)).unwrap();
    }
    let holes = File::create(root.join("a/b/holes")).unwrap();
    for piece in 0..pieces {
        holes.write_all_at(&pattern(4096), piece * 8192).unwrap();
    }
    holes.set_len(pieces * 8192 + 100_000).unwrap();
    for len in [1, 58, 59, 60, 61, 900] {
        std::os::unix::fs::symlink("t".repeat(len), root.join(format!("link-{len}"))).unwrap();
    }
    std::os::unix::fs::symlink("../a/b", root.join("empty/up")).unwrap();
    std::os::unix::fs::symlink("/empty/up/c", root.join("absolute")).unwrap();
    std::os::unix::fs::symlink("/../../../../a/file-1", root.join("a/b/outside")).unwrap();
    std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
    fs::create_dir(root.join("many")).unwrap();
    for n in 0..700 {
        fs::write(root.join(format!("many/a-name-of-some-length-{n}")), format!("{n}")).unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(&[b'n'; 255])), "long").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"latin1-\xe9")), "bytes").unwrap();
    fs::write(root.join("a/b/c/new\nline"), "line").unwrap();
    fs::hard_link(root.join("a/file-1025"), root.join("a/b/c/hard")).unwrap();
    fs::set_permissions(root.join("a/file-1"), fs::Permissions::from_mode(0o4751)).unwrap();
}

/// Makes a file system out of a tree.
fn make(mke2fs: &Tool, tree: &Path, image: &Path, options: &str, size: &str) {
    let (tree, image) = (tree.to_str().unwrap(), image.to_str().unwrap());
    let mut arguments: Vec<&str> = vec!["-q", "-F", "-L", "a label", "-d", tree];
    arguments.extend(options.split_ascii_whitespace());
    arguments.extend([image, size]);
    mke2fs.passes(&arguments);
}

/// Every path below a directory of the host.
fn host(root: &Path) -> BTreeMap<Vec<u8>, PathBuf> {
    let mut all = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                open.push(path.clone());
            }
            all.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), path);
        }
    }
    all
}

fn same<R: ReadAt>(fs: &Ext4<R>, inode: &Inode, path: &Path) {
    let expected = path.symlink_metadata().unwrap();
    let shown = path.display();
    assert_eq!(u32::from(inode.mode), expected.mode() & 0o7777, "{shown}");
    assert_eq!(
        (inode.uid, inode.gid, inode.mtime),
        (expected.uid(), expected.gid(), expected.mtime()),
        "{shown}"
    );
    let kind = expected.file_type();
    if kind.is_dir() {
        assert_eq!(inode.kind, Kind::Directory, "{shown}");
    } else if kind.is_symlink() {
        let target = fs::read_link(path).unwrap();
        assert_eq!(fs.read_link(inode).unwrap(), target.as_os_str().as_bytes(), "{shown}");
    } else {
        let bytes = fs::read(path).unwrap();
        assert_eq!(inode.size, bytes.len() as u64, "{shown}");
        assert!(fs.read_inode(inode, 64 << 20).unwrap() == bytes, "{shown}");
        let mut streamed = Vec::new();
        fs.open_file(inode).unwrap().read_to_end(&mut streamed).unwrap();
        assert!(streamed == bytes, "{shown}: streamed");
    }
}

fn same_tree(fs: &Ext4<&[u8]>, root: &Path) {
    let mut expected = host(root);
    for found in fs.walk(&fs.root().unwrap()) {
        let found = found.unwrap();
        if found.path == b"lost+found" {
            continue;
        }
        let path = expected
            .remove(&found.path)
            .unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&found.path)));
        same(fs, &found.inode, &path);
    }
    assert!(expected.is_empty(), "not found: {expected:?}");
}

fn paths_resolve(fs: &Ext4<&[u8]>) {
    let number = |path: &str| fs.resolve(path.as_bytes()).map(|inode| inode.number);
    assert_eq!(number("/").unwrap(), 2);
    assert_eq!(number("/../..").unwrap(), 2);
    assert_eq!(number("/absolute").unwrap(), number("a/b/c").unwrap(), "a link over a link");
    assert_eq!(
        number("/empty/up/../file-1").unwrap(),
        number("/a/file-1").unwrap(),
        "the parent of where a link leads"
    );
    assert_eq!(number("/a/b/outside").unwrap(), number("/a/file-1").unwrap(), "a link stays inside");
    assert_eq!(number("/a/file-1025").unwrap(), number("/a/b/c/hard").unwrap());
    assert!(matches!(number("/loop"), Err(Error::TooFar(_))));
    assert!(matches!(number("/a/none"), Err(Error::NotFound(_))));
    assert!(matches!(number("/a/file-1/x"), Err(Error::Kind { .. })));
    assert!(matches!(fs.read_file("/a/file-300000", 299_999), Err(Error::TooLong { len: 300_000, .. })));
    assert_eq!(fs.lookup(b"/absolute").unwrap().kind, Kind::Symlink);
}

/// What dumpe2fs says in a line of its header.
fn line<'a>(dump: &'a str, key: &str) -> &'a str {
    let value = dump.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("{key}: {dump}")).trim()
}

fn same_superblock(fs: &Ext4<&[u8]>, image: &Path) {
    let Some(dumpe2fs) = Tool::find("dumpe2fs") else { return };
    let dump = dumpe2fs.passes(&["-h", image.to_str().unwrap()]);
    let sb = &fs.superblock;
    for (key, value) in [
        ("Filesystem volume name", sb.label.clone()),
        ("Filesystem UUID", sb.uuid.to_string()),
        ("Inode count", sb.inodes.to_string()),
        ("Block count", sb.blocks.to_string()),
        ("Free blocks", sb.free_blocks.to_string()),
        ("Free inodes", sb.free_inodes.to_string()),
        ("Block size", sb.block_size.to_string()),
        ("Mount count", sb.mounts.to_string()),
        ("Filesystem state", if sb.clean { "clean" } else { "not clean" }.to_owned()),
    ] {
        assert_eq!(line(&dump, key), value, "{key}");
    }
    let sorted = |names: &mut Vec<&str>| names.sort_unstable();
    let (mut ours, mut theirs): (Vec<&str>, Vec<&str>) = (
        sb.features.iter().map(String::as_str).collect(),
        line(&dump, "Filesystem features").split(' ').filter(|name| !name.is_empty()).collect(),
    );
    sorted(&mut ours);
    sorted(&mut theirs);
    assert_eq!(ours, theirs);
}

/// Options of mke2fs, and a size.
const SHAPES: [(&str, &str); 14] = [
    ("-t ext4", "24M"),
    ("-t ext4 -b 1024", "24M"),
    ("-t ext4 -b 2048", "24M"),
    ("-t ext4 -b 1024 -O metadata_csum,64bit,metadata_csum_seed,orphan_file", "24M"),
    ("-t ext4 -O ^metadata_csum,^64bit", "24M"),
    ("-t ext4 -O ^metadata_csum,uninit_bg", "24M"),
    ("-t ext4 -b 1024 -O meta_bg,^resize_inode -g 1024", "24M"),
    ("-t ext4 -b 1024 -O meta_bg,^resize_inode,^sparse_super,64bit -g 512", "24M"),
    ("-t ext4 -I 128 -O ^64bit", "24M"),
    ("-t ext4 -O sparse_super2", "24M"),
    ("-t ext4 -O ^flex_bg,^has_journal", "24M"),
    ("-t ext2 -b 1024", "24M"),
    ("-t ext3 -b 4096", "24M"),
    ("-t ext2 -b 2048 -O ^filetype,^sparse_super,^resize_inode", "24M"),
];

#[test]
fn the_reader_reads_what_mke2fs_makes() {
    let Some(mke2fs) = Tool::find("mke2fs") else { return };
    let (root, work) = (temp(), temp());
    tree(root.path(), 700);
    for (options, size) in SHAPES {
        println!("{options}");
        let image = work.path().join("image");
        let _ = fs::remove_file(&image);
        make(&mke2fs, root.path(), &image, options, size);
        let bytes = fs::read(&image).unwrap();
        let fs = Ext4::open(&bytes[..]).unwrap();
        same_superblock(&fs, &image);
        same_tree(&fs, root.path());
        paths_resolve(&fs);
    }
}

#[test]
fn indexed_directories_and_their_checksums_are_read() {
    let (Some(mke2fs), Some(e2fsck)) = (Tool::find("mke2fs"), Tool::find("e2fsck")) else { return };
    let (root, work) = (temp(), temp());
    tree(root.path(), 5);
    let image = work.path().join("image");
    // Three levels: a root, nodes, leaves.
    for n in 0..6000 {
        fs::write(root.path().join(format!("many/{n}-{}", "x".repeat(180))), "").unwrap();
    }
    make(&mke2fs, root.path(), &image, "-t ext4 -b 1024 -O metadata_csum -N 8000", "32M");
    e2fsck.passes(&["-fyD", image.to_str().unwrap()]);
    let bytes = fs::read(&image).unwrap();
    let fs = Ext4::open(&bytes[..]).unwrap();
    same_tree(&fs, root.path());
    let many = fs.resolve(b"/many").unwrap();
    let blocks = many.size / 1024;
    let mut changed = 0;
    // A bit in each block of the directory is seen; where they are is told by what the reader does not read any more.
    for block in 0..bytes.len() / 1024 {
        let at = block * 1024;
        let is_node = bytes[at..at + 8] == [0, 0, 0, 0, 0, 4, 0, 0];
        if is_node {
            let mut damaged = bytes.clone();
            damaged[at + 20] ^= 1;
            let fs = Ext4::open(&damaged[..]).unwrap();
            let error = fs.read_dir(&many).unwrap().find_map(Result::err).unwrap().to_string();
            assert!(error.contains(&format!("of the directory in inode {}", many.number)), "{error}");
            changed += 1;
        }
    }
    assert!(changed > 10 && changed < blocks, "{changed} nodes of {blocks} blocks");
}

#[test]
fn what_is_not_supported_is_named() {
    let Some(mke2fs) = Tool::find("mke2fs") else { return };
    let (root, work) = (temp(), temp());
    fs::write(root.path().join("small"), "fits into an inode").unwrap();
    for (options, feature) in [
        ("-t ext4 -O inline_data", "inline_data"),
        ("-t ext4 -O encrypt", "encrypt"),
        ("-t ext4 -O casefold -E encoding=utf8", "casefold"),
        ("-t ext4 -O bigalloc -C 16384", "bigalloc"),
        ("-t ext4 -O mmp", "mmp"),
    ] {
        let image = work.path().join("image");
        let _ = fs::remove_file(&image);
        make(&mke2fs, root.path(), &image, options, "16M");
        let bytes = fs::read(&image).unwrap();
        let Err(error) = Ext4::open(&bytes[..]) else { panic!("{feature} was read") };
        assert_eq!(error.to_string(), format!("the ext4 feature {feature} is not supported"));
    }
}

#[test]
fn a_wrong_checksum_names_what_it_is_of() {
    let (Some(mke2fs), Some(debugfs)) = (Tool::find("mke2fs"), Tool::find("debugfs")) else { return };
    let (root, work) = (temp(), temp());
    tree(root.path(), 700);
    let image = work.path().join("image");
    make(&mke2fs, root.path(), &image, "-t ext4 -b 1024 -O metadata_csum", "24M");
    let bytes = fs::read(&image).unwrap();
    let ask = |question: &str| {
        let output = debugfs.run(&["-R", question, image.to_str().unwrap()]);
        String::from_utf8(output.stdout).unwrap()
    };
    let first_number = |text: &str| -> usize {
        let digits = text.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
        digits.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    };
    // "located at block 77, offset 0x0500", "(ETB0):8353"
    let imap = ask("imap /a/b/holes");
    let place = imap.rsplit("block ").next().unwrap();
    let offset = usize::from_str_radix(place.rsplit("0x").next().unwrap().trim(), 16).unwrap();
    let inode_at = first_number(place) * 1024 + offset;
    let stat = ask("stat /a/b/holes");
    let extent_at = first_number(stat.split("(ETB").nth(1).unwrap().split(':').nth(1).unwrap()) * 1024;
    let directory_at = first_number(ask("blocks /a/b").lines().last().unwrap()) * 1024;
    let number = Ext4::open(&bytes[..]).unwrap().resolve(b"/a/b/holes").unwrap().number;
    for (at, expected) in [
        (1024 + 0x10, "the superblock has the checksum".to_owned()),
        (2048 + 4, "the descriptor of group 0 has the checksum".to_owned()),
        (inode_at + 8, format!("inode {number} has the checksum")),
        (extent_at + 20, format!("of inode {number} has the checksum")),
        (directory_at + 40, "block 0 of the directory in inode ".to_owned()),
    ] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        let read = || Ext4::open(&damaged[..])?.read_file("/a/b/holes", 64 << 20);
        let error = read().unwrap_err().to_string();
        assert!(error.contains(&expected) && error.contains("expected 0x"), "{expected}: {error}");
    }
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// Reads all that there is, up to a limit for each file.
fn read_all(image: &[u8]) -> usize {
    let Ok(fs) = Ext4::open(image) else { return 0 };
    let mut count = 0;
    if let Ok(root) = fs.root() {
        for found in fs.walk(&root) {
            count += 1;
            let Ok(found) = found else { continue };
            let _ = fs.read_link(&found.inode);
            if let Ok(file) = fs.open_file(&found.inode) {
                let _ = std::io::copy(&mut file.take(1 << 16), &mut std::io::sink());
            }
        }
    }
    for path in ["/a/b/c/hard", "/absolute", "/loop", "/a/b/outside"] {
        let _ = fs.read_file(path, 1 << 16);
    }
    count
}

#[test]
fn no_damage_makes_reading_panic_or_hang() {
    let Some(mke2fs) = Tool::find("mke2fs") else { return };
    const VALUES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xff, 0x10, 0xf3];
    let (root, work) = (temp(), temp());
    tree(root.path(), 10);
    fs::remove_dir_all(root.path().join("many")).unwrap();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut tried, mut slowest) = (0, Duration::ZERO);
    // Without checksums, for with them hardly a change would be looked at.
    for options in [
        "-t ext4 -b 1024 -O ^metadata_csum",
        "-t ext2 -b 1024",
        "-t ext4 -b 4096",
        "-t ext4 -b 1024 -O ^metadata_csum,meta_bg,^resize_inode -g 512",
    ] {
        let image = work.path().join("image");
        let _ = fs::remove_file(&image);
        make(&mke2fs, root.path(), &image, &format!("{options} -N 128"), "4M");
        let good = fs::read(&image).unwrap();
        // Blocks that hold something: most of the others are free, and change nothing.
        let blocks: Vec<usize> = (0..good.len() / 512)
            .filter(|block| good[block * 512..][..512].iter().any(|b| *b != 0))
            .collect();
        let mut bytes = good.clone();
        for _ in 0..5000 {
            let mut places = Vec::new();
            for _ in 0..=numbers.below(6) {
                let block = match numbers.below(4) {
                    0 => 2,
                    _ => blocks[numbers.below(blocks.len())],
                };
                let at = block * 512 + numbers.below(512);
                bytes[at] = match numbers.below(3) {
                    0 => bytes[at] ^ 1 << numbers.below(8),
                    _ => VALUES[numbers.below(VALUES.len())],
                };
                places.push(at);
            }
            let begin = Instant::now();
            read_all(&bytes);
            slowest = slowest.max(begin.elapsed());
            tried += 1;
            for at in places {
                bytes[at] = good[at];
            }
        }
        assert!(read_all(&bytes) > 20);
    }
    println!("{tried} damaged file systems, {slowest:?} for the slowest");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

#[test]
fn the_reader_reads_what_the_writer_makes() {
    let entries = |entries: Vec<(Box<[u8]>, Node<u64>)>| Directory::from_entries(entries).unwrap();
    let content =
        |which: u64, at: u64, len: u64| (at..at + len).map(|n| (n * 7 + which) as u8).collect::<Vec<u8>>();
    let many = (0..20_000u64)
        .map(|n| (format!("{n:0200}").into_bytes().into(), Node::store_file(n % 2 == 0, n % 5, n)));
    let links = [1usize, 59, 60, 4095]
        .map(|len| (format!("{len}").into_bytes().into(), Node::store_symlink(vec![b't'; len])));
    let root = entries(vec![
        (b"many"[..].into(), Node::store_directory(entries(many.collect()))),
        (b"links"[..].into(), Node::store_directory(entries(links.into()))),
        (b"big"[..].into(), Node::store_file(false, 200_000_001, 3)),
    ]);
    let options = ext4::Options {
        size: ext4::Size::Smallest { free_bytes: 1 << 20, free_inodes: 100 },
        uuid: *b"0123456789abcdef",
        hash_seed: *b"fedcba9876543210",
        label: ext4::Label::new(b"NIXOS_SD").unwrap(),
        epoch: 1_700_000_000,
        purpose: ext4::Purpose::Image,
        front: String::new(),
    };
    let plan = ext4::plan(&Node::store_directory(root), &options).unwrap();
    let work = temp();
    let image = work.path().join("image");
    image_of(&plan, &image, Some(0xaa), &content);
    let fs = Ext4::open(File::open(&image).unwrap()).unwrap();
    assert_eq!((&fs.superblock.label[..], fs.superblock.created), ("NIXOS_SD", 1_700_000_000));
    assert_eq!(fs.superblock.free_blocks, plan.summary().free_blocks);
    let mut found = 0;
    for entry in fs.walk(&fs.root().unwrap()) {
        let entry = entry.unwrap();
        found += 1;
        let Some(n) = entry.path.strip_prefix(b"many/") else { continue };
        let n: u64 = std::str::from_utf8(n).unwrap().parse().unwrap();
        assert_eq!(
            (entry.inode.size, entry.inode.mode),
            (n % 5, if n.is_multiple_of(2) { 0o555 } else { 0o444 })
        );
        assert_eq!(fs.read_inode(&entry.inode, 4).unwrap(), content(n, 0, n % 5));
    }
    assert_eq!(found, 20_000 + 4 + 4, "lost+found too");
    assert_eq!(fs.read_link(&fs.lookup(b"/links/4095").unwrap()).unwrap(), [b't'; 4095]);
    assert!(fs.read_file("/big", 1 << 30).unwrap() == content(3, 0, 200_000_001));
}
