//! e2fsck, debugfs and the kernel judge what the ext4 writer makes.

use crate::common::{Tool, image_of, temp};
use nixflash::format::disk::ext4;
use nixflash::format::disk::ext4::{Label, Options, Purpose, Size};
use nixflash::tree::{Attrs, Directory, Kind, Node};
use std::path::Path;

/// A content that knows its own bytes: `seed` repeated with the position.
fn bytes(content: u64, at: u64, len: u64) -> Vec<u8> {
    (at..at + len)
        .map(|position| (content.wrapping_mul(31).wrapping_add(position.wrapping_mul(7) >> 2) % 251) as u8)
        .collect()
}

fn options(size: Size) -> Options {
    Options {
        size,
        uuid: *b"0123456789abcdef",
        hash_seed: *b"fedcba9876543210",
        label: Label::new(b"NIXOS_SD").unwrap(),
        epoch: 1_700_000_000,
        purpose: Purpose::Image,
        front: "/many".to_owned(),
    }
}

const SMALL: Size = Size::Smallest { free_bytes: 1 << 20, free_inodes: 100 };

fn root(entries: Vec<(&[u8], Node<u64>)>) -> Node<u64> {
    let entries = entries.into_iter().map(|(name, node)| (name.into(), node)).collect();
    let attrs = Attrs { mode: 0o755, uid: 0, gid: 0, mtime: 1 };
    Node { attrs, kind: Kind::Directory(Directory::from_entries(entries).unwrap()) }
}

fn directory(entries: Vec<(Box<[u8]>, Node<u64>)>) -> Node<u64> {
    Node::store_directory(Directory::from_entries(entries).unwrap())
}

fn fsck(path: &Path) {
    let Some(tool) = Tool::find("e2fsck") else { return };
    tool.passes(&["-fn", path.to_str().unwrap()]);
}

/// Plans, writes twice (over zeros and over 0xaa), has both checked.
fn check(tree: &Node<u64>, options: &Options) -> (tempfile::TempDir, std::path::PathBuf) {
    let plan = ext4::plan(tree, options).unwrap();
    let dir = temp();
    let zeros = dir.path().join("zeros.img");
    image_of(&plan, &zeros, None, &bytes);
    fsck(&zeros);
    let dirty = dir.path().join("dirty.img");
    image_of(&plan, &dirty, Some(0xaa), &bytes);
    fsck(&dirty);
    (dir, zeros)
}

fn sample() -> Node<u64> {
    let long = vec![b'n'; 255];
    let mut many = Vec::new();
    for n in 0..3000u64 {
        many.push((format!("entry-{n}").into_bytes().into(), Node::store_file(n % 2 == 0, n % 9000, n)));
    }
    let mut links = Vec::new();
    for len in [1usize, 58, 59, 60, 61, 4095] {
        links.push((format!("link-{len}").into_bytes().into(), Node::store_symlink(vec![b't'; len])));
    }
    let mut deep = directory(vec![]);
    for _ in 0..300 {
        deep = directory(vec![(b"d"[..].into(), deep)]);
    }
    root(vec![
        (b"empty", directory(vec![])),
        (b"many", directory(many)),
        (b"links", directory(links)),
        (b"deep", deep),
        (&long, Node::store_file(false, 5, 77)),
        (b"latin1-\xe9", Node::store_file(false, 4096, 78)),
        (b"new\nline", Node::store_file(true, 4097, 79)),
        (b"big", Node::store_file(false, 300_000_001, 80)),
    ])
}

#[test]
fn a_tree_with_every_kind_of_name_is_clean() {
    check(&sample(), &options(SMALL));
}

#[test]
fn a_card_with_untouched_inode_tables_is_clean() {
    let card = Options { purpose: Purpose::Card, ..options(Size::Exact(3 << 30)) };
    check(&sample(), &card);
}

/// Where the contents of a plan's files lie, of those in a range of contents: offset, content, where in the file, length.
fn placed(plan: &ext4::Ext4<u64>, contents: std::ops::Range<u64>) -> Vec<(u64, u64, u64, u64)> {
    use nixflash::extent::{Fill, Layout};
    let extents = Layout::extents(plan).iter().filter_map(|extent| match extent.fill {
        Fill::Content { content, at, len } if contents.contains(&content) => {
            Some((extent.offset, content, at, len))
        }
        _ => None,
    });
    extents.collect()
}

#[test]
fn files_of_the_front_lie_where_they_do_whatever_else_there_is() {
    // Files that begin and end around superblocks, and one that is cut by four of them.
    let lens: Vec<u64> =
        (0..400u64).map(|n| n * 7919 % 400_000).chain([900 << 20, 0, 1, 600_000_000]).collect();
    let files = |first: u64| -> Vec<(Box<[u8]>, Node<u64>)> {
        let named = lens.iter().zip(first..);
        named
            .map(|(len, n)| (format!("{n:05}").into_bytes().into(), Node::store_file(false, *len, n)))
            .collect()
    };
    let mut expected = Vec::new();
    let mut front = ext4::Front::default();
    for (len, content) in lens.iter().zip(1000u64..) {
        let mut at = 0;
        for (offset, piece) in front.file(*len).unwrap() {
            expected.push((offset, content, at, piece));
            at += piece;
        }
        assert_eq!(at, *len);
    }
    let other: Vec<_> = (0..20_000u64)
        .map(|n| (format!("{n}").into_bytes().into(), Node::store_file(false, n % 5000, 100_000 + n)))
        .collect();
    let store = || directory(vec![(b"store"[..].into(), directory(files(1000)))]);
    let alone = root(vec![(b"nix", store())]);
    let among = root(vec![
        (b"a", Node::store_file(false, 123_456_789, 3)),
        (b"etc", directory(files(5000))),
        (b"nix", store()),
        (b"zzz", directory(other)),
    ]);
    for tree in [&alone, &among] {
        for (size, purpose) in [
            (Size::Smallest { free_bytes: 0, free_inodes: 0 }, Purpose::Image),
            (Size::Smallest { free_bytes: 3 << 30, free_inodes: 400_000 }, Purpose::Image),
            (Size::Exact(40 << 30), Purpose::Card),
            (Size::Exact(1 << 40), Purpose::Card),
        ] {
            let plan =
                ext4::plan(tree, &Options { purpose, front: "/nix/store".to_owned(), ..options(size) })
                    .unwrap();
            assert!(placed(&plan, 1000..1404) == expected, "{size:?}");
        }
    }
    let (_dir, path) = sparse(&among, &Options { front: "/nix/store".to_owned(), ..options(SMALL) });
    fsck(&path);
}

/// An image whose files are all zeros, so that it is written as a hole.
fn sparse(tree: &Node<u64>, options: &Options) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = temp();
    let path = dir.path().join("sparse.img");
    let plan = ext4::plan(tree, options).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(nixflash::extent::Layout::len(&plan)).unwrap();
    let extents = nixflash::extent::Layout::extents(&plan);
    for (index, extent) in extents.iter().enumerate() {
        if extent.fill == nixflash::extent::Fill::Encoded {
            let mut out = vec![0x55; extent.len as usize];
            nixflash::extent::Layout::encode(&plan, index, &mut out);
            std::os::unix::fs::FileExt::write_all_at(&file, &out, extent.offset).unwrap();
        }
    }
    (dir, path)
}

#[test]
fn sizes_around_every_group_boundary_are_clean() {
    let tree = root(vec![(b"a", Node::store_file(false, 10_000, 1))]);
    let group = 32_768u64 * 4096;
    let mut seen = 0;
    for groups in [0u64, 1, 2, 3, 9, 15, 16, 17, 31, 32, 33, 49, 64] {
        for blocks in [-600i64, -60, -1, 0, 1, 30, 49, 50, 51, 180, 300, 700, 3000] {
            let Some(bytes) = (groups * group).checked_add_signed(blocks * 4096) else { continue };
            let card = if (groups + blocks.unsigned_abs()) % 2 == 0 { Purpose::Card } else { Purpose::Image };
            let options = Options { purpose: card, ..options(Size::Exact(bytes)) };
            match ext4::plan(&tree, &options) {
                Ok(_) => {
                    let (_dir, path) = sparse(&tree, &options);
                    assert!(path.metadata().unwrap().len() <= bytes);
                    fsck(&path);
                    seen += 1;
                }
                Err(error) => assert!(
                    bytes < 20 << 20 && matches!(error, ext4::Error::TooSmall { .. }),
                    "{bytes}: {error}"
                ),
            }
        }
    }
    assert!(seen >= 150, "only {seen} sizes");
}

#[test]
fn sixty_thousand_long_names_make_a_tree_of_two_levels() {
    let entries = (0..60_000u64)
        .map(|n| (format!("{n:0>200}").into_bytes().into(), Node::store_file(false, 0, n)))
        .collect();
    check(&root(vec![(b"many", directory(entries))]), &options(SMALL));
}

#[test]
fn files_in_many_pieces_have_trees_of_extents() {
    // 70 GiB in one file: metadata cuts it at least once in 16 groups, extents end at 128 MiB; more than 340 pieces.
    for (gib, deep) in [(5u64, false), (70, true)] {
        let tree = root(vec![
            (b"huge", Node::store_file(false, gib << 30, 0)),
            (b"next", Node::store_file(false, 1, 0)),
        ]);
        let (_dir, path) = sparse(&tree, &options(SMALL));
        fsck(&path);
        let Some(debugfs) = Tool::find("debugfs") else { return };
        let dump = debugfs.passes(&["-R", "dump_extents -l /huge", path.to_str().unwrap()]);
        let pieces = dump.lines().filter(|line| line.contains(" - ")).count();
        assert!(if deep { pieces > 340 } else { (5..340).contains(&pieces) }, "{pieces}: {dump}");
    }
}

#[test]
fn a_grown_file_system_keeps_its_resize_inode_and_has_no_meta_bg() {
    let (Some(resize), Some(dumpe2fs)) = (Tool::find("resize2fs"), Tool::find("dumpe2fs")) else { return };
    for size in [4u64 << 30, 64 << 30] {
        let (_dir, path) = check(&sample(), &options(SMALL));
        std::fs::File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
        resize.passes(&["-f", path.to_str().unwrap()]);
        fsck(&path);
        let text = dumpe2fs.passes(&["-h", path.to_str().unwrap()]);
        let features = text.lines().find(|line| line.starts_with("Filesystem features")).unwrap();
        assert!(features.contains("resize_inode") && !features.contains("meta_bg"), "{features}");
        assert!(text.contains(&format!("Block count:              {}", size / 4096)), "{text}");
    }
}

#[test]
fn features_are_those_that_every_reader_understands() {
    let Some(dumpe2fs) = Tool::find("dumpe2fs") else { return };
    let (_dir, path) = check(&sample(), &options(SMALL));
    let text = dumpe2fs.passes(&["-h", path.to_str().unwrap()]);
    let mut features: Vec<&str> = text
        .lines()
        .find_map(|line| line.strip_prefix("Filesystem features:"))
        .unwrap()
        .split_whitespace()
        .collect();
    features.sort_unstable();
    let expected = "dir_index dir_nlink ext_attr extent extra_isize filetype flex_bg has_journal huge_file large_file metadata_csum resize_inode sparse_super";
    assert_eq!(features.join(" "), expected);
    assert!(text.contains("Filesystem UUID:          30313233-3435-3637-3839-616263646566"));
}

#[test]
fn what_was_promised_to_be_free_is_free() {
    for (free_bytes, free_inodes) in [(0u64, 0u32), (1 << 20, 1), (64 << 20, 16_384), (3 << 30, 500_000)] {
        let plan = ext4::plan(&sample(), &options(Size::Smallest { free_bytes, free_inodes })).unwrap();
        let summary = plan.summary();
        assert!(
            summary.free_bytes() >= free_bytes && summary.free_inodes >= u64::from(free_inodes),
            "{summary:?}"
        );
    }
}

#[test]
fn names_and_targets_that_ext4_has_not_are_named() {
    let long = vec![b'n'; 256];
    for (name, node, expected) in [
        (&long[..], Node::store_file(false, 0, 0), "more than 255 bytes"),
        (b"a/b", Node::store_file(false, 0, 0), "a slash or a NUL"),
        (b"..", Node::store_file(false, 0, 0), "is not a name"),
        (b"lost+found", directory(vec![]), "made by the file system"),
        (b"link", Node::store_symlink(vec![b't'; 4096]), "4096 bytes, expected 1 to 4095"),
        (b"link", Node::store_symlink(vec![]), "0 bytes, expected"),
        (b"file", Node::store_file(false, 17 << 40, 0), "more than ext4 can hold"),
    ] {
        let error = ext4::plan(&root(vec![(name, node)]), &options(SMALL)).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let small = ext4::plan(&sample(), &options(Size::Exact(64 << 20))).err().unwrap();
    assert!(
        matches!(small, ext4::Error::TooSmall { needed, given } if needed > 300_000_000 && given == 64 << 20),
        "{small}"
    );
}

#[test]
fn the_kernel_sees_the_tree_and_works_on_it() {
    if !crate::common::is_root() {
        return;
    }
    let (_dir, path) =
        check(&sample(), &options(Size::Smallest { free_bytes: 160 << 20, free_inodes: 30_000 }));
    {
        let Some(mount) = crate::common::Mount::new(&path, "loop") else { return };
        let at = mount.dir.path();
        assert_eq!(std::fs::read_dir(at.join("many")).unwrap().count(), 3000);
        for n in [0u64, 1, 77, 1234, 2999] {
            assert_eq!(
                std::fs::read(at.join(format!("many/entry-{n}"))).unwrap(),
                bytes(n, 0, n % 9000),
                "{n}"
            );
        }
        assert_eq!(std::fs::read_link(at.join("links/link-4095")).unwrap().as_os_str().len(), 4095);
        assert_eq!(std::fs::read_link(at.join("links/link-59")).unwrap().as_os_str().len(), 59);
        let mut deep = at.join("deep");
        let mut levels = 0;
        while deep.join("d").is_dir() {
            deep.push("d");
            levels += 1;
        }
        assert_eq!(levels, 300);
        for n in 0..20_000 {
            std::fs::write(at.join(format!("many/new-{n}")), "x").unwrap();
            if n % 7 == 0 && n < 3000 {
                std::fs::remove_file(at.join(format!("many/entry-{n}"))).unwrap();
            }
        }
    }
    fsck(&path);
}

mod random {
    use super::{SMALL, check, options, root};
    use nixflash::tree::{Directory, Node};
    use proptest::prelude::*;

    fn node() -> impl Strategy<Value = Node<u64>> {
        let leaf = prop_oneof![
            (any::<bool>(), 0u64..40_000, any::<u64>()).prop_map(|(x, len, content)| Node::store_file(
                x,
                len,
                content % 1000
            )),
            prop::collection::vec(1u8..=255, 1..90).prop_map(Node::store_symlink),
        ];
        leaf.prop_recursive(4, 120, 20, |inner| {
            let name = prop::collection::vec(prop_oneof![1u8..=46, 48u8..=255], 1..255);
            prop::collection::btree_map(name, inner, 0..20).prop_map(|entries| {
                let entries = entries.into_iter().filter(|(name, _)| name != b"." && name != b"..");
                Node::store_directory(
                    Directory::from_entries(entries.map(|(name, node)| (name.into(), node)).collect())
                        .unwrap(),
                )
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn random_trees_are_clean(tree in node()) {
            check(&root(vec![(b"top", tree)]), &options(SMALL));
        }
    }
}

/// Grows an image in a file to `len` bytes over dirt; gives the new length of its file system, if there is one.
fn grow(path: &Path, len: u64) -> Option<u64> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    file.set_len(len).unwrap();
    let (new, changes) = ext4::change::grow::grow(&file, len).unwrap()?;
    for (offset, bytes) in changes {
        assert!(offset + bytes.len() as u64 <= new);
        file.write_all_at(&bytes, offset).unwrap();
    }
    Some(new)
}

#[test]
fn a_grown_file_system_is_clean_at_every_length_and_can_grow_again() {
    const GROUP: u64 = 32_768 * 4096;
    let tree = root(vec![(b"a", Node::store_file(false, 10_000, 1)), (b"many", directory(vec![]))]);
    for (from, purpose, steps) in [
        (
            SMALL,
            Purpose::Image,
            &[GROUP - 4096, GROUP + (40 << 20), 3 * GROUP, 5 * GROUP + 8192, 26 * GROUP + (9 << 20)][..],
        ),
        (SMALL, Purpose::Card, &[129 * GROUP, 300 * GROUP + (64 << 20)]),
        (
            Size::Exact(GROUP + (30 << 20)),
            Purpose::Image,
            &[GROUP + (31 << 20), 2 * GROUP, 32 << 30, 250 << 30],
        ),
        (
            Size::Exact(17 * GROUP),
            Purpose::Card,
            &[17 * GROUP + (1 << 20), 18 * GROUP + (5 << 20), 50 * GROUP],
        ),
    ] {
        let (_dir, path) = sparse(&tree, &Options { purpose, ..options(from) });
        let mut last = path.metadata().unwrap().len();
        for len in steps {
            let new = grow(&path, *len);
            fsck(&path);
            let (debugfs, at) = (Tool::find("debugfs"), path.to_str().unwrap());
            let shown = debugfs.map(|tool| tool.passes(&["-R", "stats -h", at])).unwrap_or_default();
            assert!(shown.is_empty() || shown.contains("resize_inode"), "{shown}");
            if let Some(new) = new {
                assert!(new > last && new <= *len && *len - new < GROUP, "{last} {new} {len}");
                assert!(
                    *len - new < (12 << 20),
                    "no more than a group that is too small is left: {new} of {len}"
                );
                last = new;
            }
            assert_eq!(grow(&path, *len), None, "once is enough");
        }
        assert!(last > steps[0]);
    }
}

#[test]
fn what_is_not_ours_or_damaged_does_not_grow() {
    use std::os::unix::fs::FileExt;
    let tree = root(vec![(b"a", Node::store_file(false, 10_000, 1))]);
    let (_dir, path) = sparse(&tree, &options(SMALL));
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    for at in [1024 + 0x38, 1024 + 0x04, 1024 + 0x60, 4096 + 4, 4096 + 0x12] {
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 2], at).unwrap();
        assert!(ext4::change::grow::grow(&file, 1 << 32).is_err(), "{at}");
        file.write_all_at(&byte, at).unwrap();
    }
    let Some(mke2fs) = Tool::find("mke2fs") else { return };
    mke2fs.passes(&["-q", "-F", "-t", "ext4", path.to_str().unwrap()]);
    let error = ext4::change::grow::grow(&std::fs::File::open(&path).unwrap(), 1 << 32).unwrap_err();
    assert!(error.to_string().contains("other features"), "{error}");
}
