//! The stream of `nix-store --export`, from a file or a pipe.
//!
//! Names stand behind their contents there, and hashes nowhere, so all of it is gone through first. A file that is not
//! packed is read again where it is; anything else is put into a file without a name on the way.

use crate::format::nix::nar::Delimited;
use crate::format::nix::store_path::StorePath;
use crate::format::nix::{export, wire};
use crate::ints;
use crate::store::error::Error;
use crate::store::interface::{PathInfo, Store};
use crate::stream::decompress::Compression;
use crate::stream::hash::Hashing;
use crate::tree::Node;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Paths and references of one export: a hundred times those of a system.
const MAX_NAMES: usize = 1 << 20;
/// The longest archive, in bytes.
const MAX_NAR: u64 = 1 << 50;
/// Bytes moved at a time.
const CHUNK: usize = 256 << 10;

/// The paths of an export.
pub struct Export {
    name: String,
    file: Arc<File>,
    /// What is known of each path, and where its NAR is in the file.
    known: BTreeMap<StorePath, (PathInfo, u64)>,
}

impl Export {
    /// Reads a file, or standard input for `-`. What has to be put elsewhere goes into the directory `spool`.
    pub fn open(place: &str, spool: &Path) -> Result<Self, Error> {
        let name = format!("export:{place}");
        if place == "-" {
            return Self::read(name, Box::new(io::stdin()), None, spool);
        }
        let path = Path::new(place);
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let kind = file.metadata().map_err(|source| Error::io(path, source))?.file_type();
        let again = if kind.is_file() { file.try_clone().ok() } else { None };
        Self::read(name, Box::new(file), again, spool)
    }

    /// Goes through a stream. `again` is the same file, where it can be read a second time.
    fn read(
        name: String,
        from: Box<dyn Read + Send>,
        again: Option<File>,
        spool: &Path,
    ) -> Result<Self, Error> {
        let mut from = BufReader::with_capacity(CHUNK, from);
        let start = from.fill_buf().map_err(|source| Error::io(Path::new(&name), source))?;
        let compression = Compression::sniff(start);
        let failed = |source| Error::Export { name: name.clone(), source };
        let opened = compression.open(Box::new(from));
        let unpacked = opened.map_err(|source| failed(wire::Error::Read { what: "an archive", source }))?;
        let mut stream = Counted { inner: unpacked, count: 0 };
        if let (Some(file), Compression::None) = (again, compression) {
            let known = records(&mut stream, None).map_err(|fault| fault.named(&name, spool))?;
            return Ok(Self { name, file: Arc::new(file), known });
        }
        let unwritten = |source| Error::io(spool, source);
        std::fs::create_dir_all(spool).map_err(unwritten)?;
        let file = tempfile::tempfile_in(spool).map_err(unwritten)?;
        let known = records(&mut stream, Some(&file)).map_err(|fault| fault.named(&name, spool))?;
        Ok(Self { name, file: Arc::new(file), known })
    }
}

/// Why an export cannot be used.
enum Fault {
    Stream(wire::Error),
    Spool(io::Error),
}

impl Fault {
    fn named(self, name: &str, spool: &Path) -> Error {
        match self {
            Self::Stream(source) => Error::Export { name: name.to_owned(), source },
            Self::Spool(source) => Error::io(spool, source),
        }
    }
}

impl From<wire::Error> for Fault {
    fn from(error: wire::Error) -> Self {
        Self::Stream(error)
    }
}

/// Reads all records; archives go to `spool`, where there is one, one behind the other.
fn records<R: BufRead>(
    stream: &mut Counted<R>,
    spool: Option<&File>,
) -> Result<BTreeMap<StorePath, (PathInfo, u64)>, Fault> {
    let mut known = BTreeMap::new();
    let (mut spooled, mut names) = (0, 0);
    while export::another(stream)? {
        let at = if spool.is_some() { spooled } else { stream.count };
        let (nar_hash, nar_size) = archive(stream, spool)?;
        spooled += nar_size;
        let export::Trailer { path, references, deriver } = export::trailer(stream)?;
        names += 1 + references.len();
        if names > MAX_NAMES {
            let (most, found) = (ints::to_u64(MAX_NAMES), ints::to_u64(names));
            return Err(
                wire::Error::TooLong { what: "an export with paths and references", most, found }.into()
            );
        }
        let (signatures, content_address) = (Vec::new(), None);
        let info = PathInfo {
            path: path.clone(),
            nar_hash,
            nar_size,
            references,
            deriver,
            signatures,
            content_address,
        };
        if known.insert(path.clone(), (info, at)).is_some() {
            return Err(wire::Error::value("a store path", "each path once", &path.to_string()).into());
        }
    }
    let rest = stream.fill_buf().map_err(|source| wire::Error::Read { what: "the end", source })?;
    if !rest.is_empty() {
        return Err(wire::Error::value("what follows the last path", "the end", "something else").into());
    }
    Ok(known)
}

/// Reads one archive; its hash and length.
fn archive(stream: &mut impl BufRead, mut spool: Option<&File>) -> Result<([u8; 32], u64), Fault> {
    let mut nar = Hashing::new(Delimited::new(stream), MAX_NAR);
    loop {
        let chunk = nar.fill_buf().map_err(|source| wire::Error::Read { what: "an archive", source })?;
        let len = chunk.len();
        if len == 0 {
            break;
        }
        if let Some(file) = &mut spool {
            file.write_all(chunk).map_err(Fault::Spool)?;
        }
        nar.consume(len);
    }
    let size = nar.consumed();
    Ok((nar.digest(), size))
}

/// Counts what was taken.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.count += ints::to_u64(amount);
        self.inner.consume(amount);
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.count += ints::to_u64(read);
        Ok(read)
    }
}

/// A part of a file.
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = ints::to_usize((self.end - self.at).min(ints::to_u64(out.len())));
        let read = self.file.read_at(&mut out[..len], self.at)?;
        self.at += ints::to_u64(read);
        Ok(read)
    }
}

impl Store for Export {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, Error> {
        Ok(self.known.get(path).map(|(info, _)| info.clone()))
    }

    fn open_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, Error> {
        let missing =
            || Error::Missing { path: path.to_string(), stores: self.name(), referrer: String::new() };
        let (info, at) = self.known.get(path).ok_or_else(missing)?;
        let section = Section { file: Arc::clone(&self.file), at: *at, end: at + info.nar_size };
        Ok(Box::new(BufReader::with_capacity(CHUNK, section)))
    }

    fn listing(&self, _path: &StorePath) -> Result<Option<Node<()>>, Error> {
        Ok(None)
    }

    /// Nothing has to be decoded, but a tree is read from the whole of its NAR.
    fn is_packed(&self) -> bool {
        true
    }

    fn names(&self) -> Result<Vec<StorePath>, Error> {
        Ok(self.known.keys().cloned().collect())
    }
}
