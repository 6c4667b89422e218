//! e2fsck, debugfs and the kernel judge what the ext4 writer makes.

use crate::common::{Tool, image_of, temp};
use nixflash::format::ext4::{self, Label, Options, Purpose, Size};
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
