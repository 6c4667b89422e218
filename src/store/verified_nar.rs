//! The contents of a store path in NAR order, hashed and compared with the planned tree on the way.

use super::error::Error;
use super::interface::PathInfo;
use super::trust::content_address::Flat;
use super::trust::hash_modulo::Modulo;
use crate::format::nix::nar::{Event, Reader};
use crate::format::nix::store_path::StorePath;
use crate::stream::hash::Hashing;
use crate::tree::{Directory, Kind, Node};
use std::io::{self, BufRead, Read};

/// A NAR that is hashed while it is read, and what it contains too, where the path is the address of that.
pub struct Verified<R> {
    nar: Hashing<R>,
    flat: Option<Flat>,
    modulo: Option<Modulo>,
    /// Bytes at the front of the buffer that these have seen.
    seen: usize,
}

impl<R: BufRead> Verified<R> {
    /// Reads a NAR through its hash.
    pub fn new(nar: R, info: &PathInfo) -> Self {
        Self {
            nar: Hashing::new(nar, info.nar_size),
            flat: Flat::of(info),
            modulo: Modulo::of(info),
            seen: 0,
        }
    }
}

impl<R: BufRead> BufRead for Verified<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let buf = self.nar.fill_buf()?;
        let new = &buf[self.seen.min(buf.len())..];
        if let Some(flat) = &mut self.flat {
            flat.see(new);
        }
        if let Some(modulo) = &mut self.modulo {
            modulo.see(new);
        }
        self.seen = buf.len();
        Ok(buf)
    }

    fn consume(&mut self, amount: usize) {
        self.seen = self.seen.saturating_sub(amount);
        self.nar.consume(amount);
    }
}

impl<R: BufRead> Read for Verified<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let buf = self.fill_buf()?;
        let len = buf.len().min(out.len());
        out[..len].copy_from_slice(&buf[..len]);
        self.consume(len);
        Ok(len)
    }
}

/// What is wrong with a NAR of which more was read than it may have.
pub fn longer<R: BufRead>(nar: &Verified<R>, info: &PathInfo) -> Option<Error> {
    let consumed = nar.nar.consumed();
    (consumed > info.nar_size).then(|| too_long(consumed, info))
}

/// A NAR has at least so many bytes, more than it may have.
pub fn too_long(len: u64, info: &PathInfo) -> Error {
    Error::Mismatch {
        path: info.path.to_string(),
        what: "its NarSize",
        expected: info.nar_size.to_string(),
        found: format!("{len} or more"),
    }
}

/// Compares length and hash of a NAR that was read to its end.
pub fn verify<R: BufRead>(nar: Verified<R>, info: &PathInfo) -> Result<(), Error> {
    let consumed = nar.nar.consumed();
    if let Some(error) = longer(&nar, info) {
        return Err(error);
    }
    if consumed != info.nar_size {
        let (expected, found) = (info.nar_size.to_string(), consumed.to_string());
        return Err(Error::Mismatch { path: info.path.to_string(), what: "its NarSize", expected, found });
    }
    let digest = nar.nar.digest();
    if digest != info.nar_hash {
        return Err(Error::hash(&info.path, "its NarHash", &info.nar_hash, &digest));
    }
    nar.modulo.map_or(Ok(()), |modulo| modulo.verify(info))?;
    nar.flat.map_or(Ok(()), |flat| flat.verify(info))
}

/// A regular file in a NAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Whether it is executable.
    pub executable: bool,
    /// Its length in bytes.
    pub len: u64,
}

/// Streams the regular files of a store path.
pub struct Payload<'a, C> {
    reader: Reader<Verified<Box<dyn BufRead + Send>>>,
    info: &'a PathInfo,
    /// The directories that are open, and the position of the entry that comes next in each.
    open: Vec<(&'a Directory<C>, usize)>,
    /// What the next node must be.
    expected: Option<&'a Node<C>>,
}

impl<'a, C> Payload<'a, C> {
    /// Reads `nar`, which must have the structure of `tree`.
    pub fn new(nar: Box<dyn BufRead + Send>, info: &'a PathInfo, tree: &'a Node<C>) -> Self {
        Self { reader: Reader::new(Verified::new(nar, info)), info, open: Vec::new(), expected: Some(tree) }
    }

    /// Goes to the next regular file, skipping what is left of the current one; `None` behind the last.
    pub fn next_file(&mut self) -> Result<Option<FileHeader>, Error> {
        while let Some(event) =
            self.reader.next_event().map_err(|error| Error::nar(&self.info.path, error))?
        {
            if let Some(file) = self.compare(&event)? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Some of what is left of the current file; empty at its end.
    pub fn chunk(&mut self) -> Result<&[u8], Error> {
        let path = &self.info.path;
        self.reader.chunk().map_err(|error| Error::nar(path, error))
    }

    /// Takes bytes that `chunk` gave.
    pub fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }

    /// Checks hash and length; all files must have been gone through.
    pub fn finish(self) -> Result<(), Error> {
        verify(self.reader.into_inner(), self.info)
    }

    fn compare(&mut self, event: &Event) -> Result<Option<FileHeader>, Error> {
        match event {
            Event::Entry(name) => {
                let next = self.open.last_mut().and_then(|(directory, at)| {
                    *at += 1;
                    directory.nth(*at - 1)
                });
                match next {
                    Some((expected, node)) if expected == name => self.expected = Some(node),
                    _ => {
                        return Err(differs(
                            &self.info.path,
                            &format!("an entry {:?}", String::from_utf8_lossy(name)),
                        ));
                    }
                }
            }
            Event::Leave => {
                let complete = self.open.pop().is_some_and(|(directory, at)| at == directory.len());
                if !complete {
                    return Err(differs(&self.info.path, "a directory with fewer entries"));
                }
            }
            Event::Directory => match self.expected.take().map(|node| &node.kind) {
                Some(Kind::Directory(directory)) => self.open.push((directory, 0)),
                _ => return Err(differs(&self.info.path, "a directory")),
            },
            Event::Symlink(target) => match self.expected.take().map(|node| &node.kind) {
                Some(Kind::Symlink(expected)) if **expected == **target => {}
                _ => return Err(differs(&self.info.path, "a symlink")),
            },
            Event::File { executable, len } => match self.expected.take() {
                Some(node @ Node { kind: Kind::File { len: expected, .. }, .. })
                    if expected == len && node.is_executable() == *executable =>
                {
                    return Ok(Some(FileHeader { executable: *executable, len: *len }));
                }
                _ => return Err(differs(&self.info.path, &format!("a file of {len} bytes"))),
            },
        }
        Ok(None)
    }
}

fn differs(path: &StorePath, what: &str) -> Error {
    Error::Listing { path: path.to_string(), message: format!("its NAR has {what} that was not planned") }
}
