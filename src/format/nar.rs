//! The Nix archive: one file, directory or symlink, with names in order and nothing of the host in it.
//!
//! ```text
//! archive = str("nix-archive-1") node
//! node    = str("(") str("type") body str(")")
//! body    = str("regular") [str("executable") str("")] str("contents") str(BYTES)
//!         | str("symlink") str("target") str(BYTES)
//!         | str("directory") { str("entry") str("(") str("name") str(BYTES) str("node") node str(")") }
//! str(s)  = length u64 little-endian | s | zeros to a multiple of 8
//! ```
//! Source: Nix `src/libutil/archive.cc` of 2.34.7 and later, whose limits hold here: 63 levels, names of 255 bytes,
//! targets of 4095, entries strictly ascending, padding of zeros, nothing behind the end.

use crate::num;
use crate::tree::{Directory, Kind, Node};
use std::io::{self, BufRead};

/// Levels of directories that an archive may have.
pub const MAX_DEPTH: usize = 63;
/// Bytes that a name may have.
pub const MAX_NAME: u64 = 255;
/// Bytes that a symlink's target may have.
pub const MAX_TARGET: u64 = 4095;
/// Files, directories and symlinks that a tree is read of: far more than any store path has, and a bound for the memory
/// that a small compressed archive of nothing but names can take.
const MAX_NODES: usize = 2_000_000;
/// Bytes of the longest word of the format.
const MAX_WORD: u64 = 32;
const WORD_LEN: usize = 32;

/// What comes next in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A directory begins; its entries follow, then [`Event::Leave`].
    Directory,
    /// The name of an entry; what it is follows.
    Entry(Vec<u8>),
    /// A regular file; its contents can be read until the next event is asked for.
    File {
        /// Whether it is executable.
        executable: bool,
        /// Its length in bytes.
        len: u64,
    },
    /// A symlink and its target.
    Symlink(Vec<u8>),
    /// The directory that began last ends.
    Leave,
}

/// An archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream behind it failed, or ended too early.
    #[error("at byte {at}: {source}")]
    Read {
        /// Where in the archive.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// It is not a Nix archive, or one that Nix refuses.
    #[error("at byte {at}: {message}")]
    Format {
        /// Where in the archive.
        at: u64,
        /// What was expected and found.
        message: String,
    },
}

enum State {
    Start,
    /// Inside a file's contents: bytes left, and padding behind them.
    Contents(u64, usize),
    /// A node is complete.
    Complete,
    /// In a directory, before an entry or its end.
    Entries,
    /// After a name.
    Node,
    End,
}

/// Reads an archive event by event. Nothing is allocated from a length but names and targets, which are short.
pub struct Reader<R> {
    inner: R,
    at: u64,
    state: State,
    /// The last name of each open directory.
    open: Vec<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    /// Reads from the first byte of an archive.
    pub const fn new(inner: R) -> Self {
        Self { inner, at: 0, state: State::Start, open: Vec::new() }
    }

    /// The next event; `None` at the end, where the stream must end too. What is left of a file is skipped.
    pub fn next_event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            match self.state {
                State::Start => {
                    self.expect("nix-archive-1")?;
                    return self.node().map(Some);
                }
                State::Contents(..) => self.skip_contents()?,
                State::Complete if self.open.is_empty() => {
                    if !self
                        .inner
                        .fill_buf()
                        .map_err(|source| Error::Read { at: self.at, source })?
                        .is_empty()
                    {
                        return Err(self.wrong("bytes after the end of the archive".to_owned()));
                    }
                    self.state = State::End;
                }
                State::Complete => {
                    self.expect(")")?;
                    self.state = State::Entries;
                }
                State::Entries => return self.entry().map(Some),
                State::Node => return self.node().map(Some),
                State::End => return Ok(None),
            }
        }
    }

    /// Some of what is left of the current file; empty at its end.
    pub fn chunk(&mut self) -> Result<&[u8], Error> {
        let State::Contents(left, _) = self.state else { return Ok(&[]) };
        if left == 0 {
            return Ok(&[]);
        }
        let at = self.at;
        let buf = self.inner.fill_buf().map_err(|source| Error::Read { at, source })?;
        if buf.is_empty() {
            return Err(Error::Read { at, source: io::ErrorKind::UnexpectedEof.into() });
        }
        Ok(&buf[..num::to_usize(left.min(num::to_u64(buf.len())))])
    }

    /// Takes bytes that `chunk` gave.
    pub fn consume(&mut self, amount: usize) {
        if let State::Contents(left, padding) = self.state {
            let amount = num::to_u64(amount).min(left);
            self.inner.consume(num::to_usize(amount));
            self.at += amount;
            self.state = State::Contents(left - amount, padding);
        }
    }

    /// The reader behind, once the end was reached.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn skip_contents(&mut self) -> Result<(), Error> {
        loop {
            let len = self.chunk()?.len();
            if len == 0 {
                break;
            }
            self.consume(len);
        }
        if let State::Contents(_, padding) = self.state {
            self.padding(padding)?;
        }
        self.expect(")")?;
        self.state = State::Complete;
        Ok(())
    }

    fn node(&mut self) -> Result<Event, Error> {
        self.expect("(")?;
        self.expect("type")?;
        let (kind, len) = self.word("the type of a node")?;
        match &kind[..len] {
            b"regular" => self.regular(),
            b"symlink" => {
                self.expect("target")?;
                let target = self.string(MAX_TARGET, "the target of a symlink")?;
                if target.is_empty() || target.contains(&0) {
                    return Err(self.wrong("the target of a symlink is empty or has a NUL".to_owned()));
                }
                self.expect(")")?;
                self.state = State::Complete;
                Ok(Event::Symlink(target))
            }
            b"directory" => {
                if self.open.len() >= MAX_DEPTH {
                    return Err(self.wrong(format!("more than {MAX_DEPTH} levels of directories")));
                }
                self.open.push(Vec::new());
                self.state = State::Entries;
                Ok(Event::Directory)
            }
            other => Err(self.unexpected("regular, symlink or directory", other)),
        }
    }

    fn regular(&mut self) -> Result<Event, Error> {
        let (mut word, mut word_len) = self.word("a word")?;
        let executable = word[..word_len] == *b"executable";
        if executable {
            self.expect("")?;
            (word, word_len) = self.word("a word")?;
        }
        if word[..word_len] != *b"contents" {
            return Err(self.unexpected("contents", &word[..word_len]));
        }
        let len = self.number()?;
        self.state = State::Contents(len, padding_of(len));
        Ok(Event::File { executable, len })
    }

    fn entry(&mut self) -> Result<Event, Error> {
        let (word, len) = self.word("a word")?;
        let word = &word[..len];
        if word == b")" {
            self.open.pop();
            self.state = State::Complete;
            return Ok(Event::Leave);
        }
        if word != b"entry" {
            return Err(self.unexpected("entry or )", word));
        }
        self.expect("(")?;
        self.expect("name")?;
        let name = self.string(MAX_NAME, "a name")?;
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
            return Err(self.wrong(format!("{:?} cannot be a file name", String::from_utf8_lossy(&name))));
        }
        // cannot fail: entries are read in an open directory only
        if let Some(last) = self.open.last_mut() {
            if *last >= name {
                let (last, name) =
                    (String::from_utf8_lossy(last).into_owned(), String::from_utf8_lossy(&name).into_owned());
                return Err(self.wrong(format!("{name:?} comes after {last:?}, names must ascend")));
            }
            last.clone_from(&name);
        }
        self.expect("node")?;
        self.state = State::Node;
        Ok(Event::Entry(name))
    }

    fn wrong(&self, message: String) -> Error {
        Error::Format { at: self.at, message }
    }

    fn unexpected(&self, expected: &str, found: &[u8]) -> Error {
        self.wrong(format!("expected {expected}, found {:?}", String::from_utf8_lossy(found)))
    }

    fn expect(&mut self, word: &str) -> Result<(), Error> {
        let (bytes, len) = self.word(word)?;
        if bytes[..len] == *word.as_bytes() {
            Ok(())
        } else {
            Err(self.unexpected(&format!("{word:?}"), &bytes[..len]))
        }
    }

    /// A word of the format, read without allocating: there are a dozen for each file.
    fn word(&mut self, what: &str) -> Result<([u8; WORD_LEN], usize), Error> {
        let len = self.number()?;
        if len > MAX_WORD {
            return Err(self.wrong(format!("{what} of {len} bytes, expected at most {MAX_WORD}")));
        }
        let mut bytes = [0; WORD_LEN];
        let len = num::to_usize(len);
        let padded = len.next_multiple_of(8);
        self.exact(&mut bytes[..padded])?;
        if bytes[len..padded].iter().any(|b| *b != 0) {
            return Err(self.wrong("padding that is not zeros".to_owned()));
        }
        Ok((bytes, len))
    }

    fn exact(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let at = self.at;
        self.inner.read_exact(out).map_err(|source| Error::Read { at, source })?;
        self.at += num::to_u64(out.len());
        Ok(())
    }

    fn number(&mut self) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn string(&mut self, max: u64, what: &str) -> Result<Vec<u8>, Error> {
        let len = self.number()?;
        if len > max {
            return Err(self.wrong(format!("{what} of {len} bytes, expected at most {max}")));
        }
        let mut bytes = vec![0; num::to_usize(len)];
        self.exact(&mut bytes)?;
        self.padding(padding_of(len))?;
        Ok(bytes)
    }

    fn padding(&mut self, len: usize) -> Result<(), Error> {
        let mut bytes = [0; 8];
        self.exact(&mut bytes[..len])?;
        if bytes[..len].iter().any(|b| *b != 0) {
            Err(self.wrong("padding that is not zeros".to_owned()))
        } else {
            Ok(())
        }
    }
}

/// Zeros behind a string.
#[must_use]
pub fn padding_of(len: u64) -> usize {
    num::to_usize(len.wrapping_neg() % 8)
}

/// A node with its name.
type Named = (Box<[u8]>, Node<()>);

/// Reads an archive for its tree; contents are skipped.
pub fn tree<R: BufRead>(reader: &mut Reader<R>) -> Result<Node<()>, Error> {
    let mut open: Vec<Vec<Named>> = Vec::new();
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let mut root = None;
    let mut nodes = 0;
    while let Some(event) = reader.next_event()? {
        nodes += 1;
        if nodes > 2 * MAX_NODES {
            return Err(reader.wrong(format!("more than {MAX_NODES} files")));
        }
        let node = match event {
            Event::Directory => {
                open.push(Vec::new());
                continue;
            }
            Event::Entry(name) => {
                names.push(name.into());
                continue;
            }
            Event::File { executable, len } => Node::store_file(executable, len, ()),
            Event::Symlink(target) => Node::store_symlink(target),
            // cannot fail: the reader gives as many ends as beginnings, and no name twice
            Event::Leave => Node::store_directory(
                Directory::from_entries(open.pop().unwrap_or_default()).unwrap_or_default(),
            ),
        };
        match (open.last_mut(), names.pop()) {
            (Some(directory), Some(name)) => directory.push((name, node)),
            _ => root = Some(node),
        }
    }
    // cannot fail: an archive has a node, or an error came before
    root.ok_or(Error::Format { at: 0, message: "an archive without a node".to_owned() })
}

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
        let len = num::to_u64(bytes.len());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(bytes);
        out.resize(out.len() + padding_of(len), 0);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Node<()>, Error> {
        tree(&mut Reader::new(bytes))
    }

    fn node() -> impl Strategy<Value = Node<Vec<u8>>> {
        let file = (any::<bool>(), prop::collection::vec(any::<u8>(), 0..40));
        let leaf = prop_oneof![
            file.prop_map(|(executable, bytes)| Node::store_file(
                executable,
                num::to_u64(bytes.len()),
                bytes
            )),
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
    fn a_hundred_thousand_levels_are_refused_without_using_the_stack() {
        let mut bytes = Vec::new();
        Framing::start(&mut bytes);
        for _ in 0..100_000 {
            Framing::directory(&mut bytes);
            Framing::entry(&mut bytes, b"d");
        }
        assert!(read(&bytes).unwrap_err().to_string().contains("63 levels"));
    }
}
