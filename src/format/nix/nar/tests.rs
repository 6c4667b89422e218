use super::error::Error;
use super::read::*;
use super::tree::*;
use super::write::*;
use crate::ints;
use crate::tree::{Directory, Node};
use proptest::prelude::*;

fn read(bytes: &[u8]) -> Result<Node<()>, Error> {
    tree(&mut Reader::new(bytes), &Room::default())
}

fn node() -> impl Strategy<Value = Node<Vec<u8>>> {
    let file = (any::<bool>(), prop::collection::vec(any::<u8>(), 0..40));
    let leaf = prop_oneof![
        file.prop_map(|(executable, bytes)| Node::store_file(executable, ints::to_u64(bytes.len()), bytes)),
        prop::collection::vec(1u8..=255, 1..70).prop_map(Node::store_symlink),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let name = prop::collection::vec(prop_oneof![Just(b'a'), 1u8..=46, 48u8..=255], 1..20);
        prop::collection::btree_map(name, inner, 0..6).prop_map(|entries| {
            let entries = entries.into_iter().filter(|(name, _)| name != b"." && name != b"..");
            let entries = entries.map(|(name, node)| (name.into(), node)).collect();
            Node::store_directory(Directory::from_entries(entries).unwrap())
        })
    })
}

fn encode(node: &Node<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    write(node, &mut |bytes, out| out.extend_from_slice(bytes), &mut out);
    out
}

proptest! {
    #[test]
    fn what_is_written_reads_back(node in node()) {
        let expected = node.clone().map(&mut |_| ());
        prop_assert_eq!(read(&encode(&node)).unwrap(), expected);
        prop_assert_eq!(len(&node), Some(ints::to_u64(encode(&node).len())));
    }

    #[test]
    fn a_changed_archive_is_refused_or_is_another_archive(node in node(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = encode(&node);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = read(&bytes) {
            // Only contents may have changed unnoticed by the tree; the length of everything is as it was.
            let mut again = Vec::new();
            write(&other, &mut |(), _| {}, &mut again);
            prop_assert!(again.len() <= bytes.len());
        }
    }
}

#[test]
fn lengths_are_never_believed() {
    for len in [1u64 << 40, 1 << 63, u64::MAX, u64::MAX - 7] {
        let mut bytes = Vec::new();
        Framing::start(&mut bytes);
        Framing::file(&mut bytes, false, len);
        bytes.extend_from_slice(b"short");
        assert!(matches!(read(&bytes), Err(Error::Read { .. })), "{len}");
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"nix-archive-1");
        assert!(matches!(read(&bytes), Err(Error::Format { .. })), "{len}");
    }
}

#[test]
fn names_and_targets_of_a_closure_take_only_so_much() {
    let mut bytes = Vec::new();
    Framing::start(&mut bytes);
    Framing::directory(&mut bytes);
    for n in 0..1000 {
        Framing::entry(&mut bytes, format!("{n:03}").as_bytes());
        Framing::symlink(&mut bytes, &[b'x'; 4095]);
        Framing::close(&mut bytes);
    }
    Framing::close(&mut bytes);
    let room = Room::default();
    let error = (0..).find_map(|_| tree(&mut Reader::new(&bytes[..]), &room).err()).unwrap();
    assert!(error.to_string().contains("have more than 134217728 bytes"), "{error}");
}

#[test]
fn a_hundred_thousand_levels_are_refused_without_using_the_stack() {
    let mut bytes = Vec::new();
    Framing::start(&mut bytes);
    for _ in 0..100_000 {
        Framing::directory(&mut bytes);
        Framing::entry(&mut bytes, b"d");
    }
    assert!(read(&bytes).unwrap_err().to_string().contains("63 levels"));
}
