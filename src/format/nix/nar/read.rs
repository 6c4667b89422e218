//! Reads an archive event by event.

use super::error::Error;
use super::limits::{MAX_DEPTH, MAX_NAME, MAX_TARGET, padding_of};
use crate::ints;
use std::io::{self, BufRead};

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
        Ok(&buf[..ints::to_usize(left.min(ints::to_u64(buf.len())))])
    }

    /// Takes bytes that `chunk` gave.
    pub fn consume(&mut self, amount: usize) {
        if let State::Contents(left, padding) = self.state {
            let amount = ints::to_u64(amount).min(left);
            self.inner.consume(ints::to_usize(amount));
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

    pub(crate) fn wrong(&self, message: String) -> Error {
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
        let len = ints::to_usize(len);
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
        self.at += ints::to_u64(out.len());
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
        let mut bytes = vec![0; ints::to_usize(len)];
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
