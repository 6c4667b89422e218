//! Writes archives, whole or piece by piece.

use super::limits::padding_of;
use crate::ints;
use crate::tree::{Kind, Node};

/// Writes the framing of an archive.
pub struct Framing;

impl Framing {
    /// What every archive begins with.
    pub fn start(out: &mut Vec<u8>) {
        Self::string(out, b"nix-archive-1");
    }

    /// A directory begins.
    pub fn directory(out: &mut Vec<u8>) {
        Self::words(out, &["(", "type", "directory"]);
    }

    /// An entry's name.
    pub fn entry(out: &mut Vec<u8>, name: &[u8]) {
        Self::words(out, &["entry", "(", "name"]);
        Self::string(out, name);
        Self::string(out, b"node");
    }

    /// A file, up to its contents.
    pub fn file(out: &mut Vec<u8>, executable: bool, len: u64) {
        Self::words(out, &["(", "type", "regular"]);
        if executable {
            Self::words(out, &["executable", ""]);
        }
        Self::string(out, b"contents");
        out.extend_from_slice(&len.to_le_bytes());
    }

    /// What follows a file's contents.
    pub fn file_end(out: &mut Vec<u8>, len: u64) {
        out.resize(out.len() + padding_of(len), 0);
        Self::string(out, b")");
    }

    /// A symlink.
    pub fn symlink(out: &mut Vec<u8>, target: &[u8]) {
        Self::words(out, &["(", "type", "symlink", "target"]);
        Self::string(out, target);
        Self::string(out, b")");
    }

    /// The end of a directory or of an entry.
    pub fn close(out: &mut Vec<u8>) {
        Self::string(out, b")");
    }

    fn words(out: &mut Vec<u8>, words: &[&str]) {
        words.iter().for_each(|word| Self::string(out, word.as_bytes()));
    }

    fn string(out: &mut Vec<u8>, bytes: &[u8]) {
        let len = ints::to_u64(bytes.len());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(bytes);
        out.resize(out.len() + padding_of(len), 0);
    }
}

/// The length of the archive of a tree; `None` where that is 2^64 or more.
#[must_use]
pub fn len<C>(root: &Node<C>) -> Option<u64> {
    let framing = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        ints::to_u64(out.len())
    };
    let close = framing(&|out| Framing::close(out));
    let string = |bytes: &[u8]| ints::to_u64(bytes.len().next_multiple_of(8));
    let (directory, entry, symlink) = (
        framing(&|out| Framing::directory(out)) + close,
        framing(&|out| Framing::entry(out, b"")) + close,
        framing(&|out| Framing::symlink(out, b"")),
    );
    let file = |executable: bool| framing(&|out| Framing::file(out, executable, 0)) + close;
    let (plain, executable) = (file(false), file(true));
    let mut total = framing(&|out| Framing::start(out));
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        let own = match &node.kind {
            Kind::File { len, .. } => {
                let framing = if node.is_executable() { executable } else { plain };
                len.checked_next_multiple_of(8)?.checked_add(framing)?
            }
            Kind::Symlink(target) => symlink + string(target),
            Kind::Directory(entries) => {
                open.extend(entries.iter().map(|(_, child)| child));
                directory + entries.iter().map(|(name, _)| entry + string(name)).sum::<u64>()
            }
        };
        total = total.checked_add(own)?;
    }
    Some(total)
}

/// Writes a whole archive; contents come from `contents`, which appends exactly the file's bytes.
pub fn write<C>(node: &Node<C>, contents: &mut impl FnMut(&C, &mut Vec<u8>), out: &mut Vec<u8>) {
    if out.is_empty() {
        Framing::start(out);
    }
    match &node.kind {
        Kind::File { len, content } => {
            Framing::file(out, node.is_executable(), *len);
            contents(content, out);
            Framing::file_end(out, *len);
        }
        Kind::Symlink(target) => Framing::symlink(out, target),
        Kind::Directory(directory) => {
            Framing::directory(out);
            for (name, child) in directory.iter() {
                Framing::entry(out, name);
                write(child, contents, out);
                Framing::close(out);
            }
            Framing::close(out);
        }
    }
}
