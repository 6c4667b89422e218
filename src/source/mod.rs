//! Where images come from: files, pipes, the network; packed or not; with what stands beside them.
//!
//! [`open`] gives one [`Source`]: recognised by its first bytes and never by its name, decoded to its true end, checked
//! against the hash and the block map that belong to it, and without the zeros that nobody will read.

mod ahead;
mod mapped;
mod trim;

pub use mapped::Mapped;
pub use trim::Trim;

use crate::format::file::bmap::{self, BlockMap};
use crate::format::file::sums::{BadSum, parse_sha256};
use crate::image::Source;
use crate::image::read::foreign;
use crate::image::read::sparse::Sparse;
use crate::image::read::stream::Stream;
use crate::image::write::complete_file;
use crate::ints;
use crate::net::{self, Client};
use crate::stream::decompress::Compression;
use crate::stream::hash::Summed;
use ahead::Ahead;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What is wanted of an image.
#[derive(Clone)]
pub struct Options<'a> {
    /// What the SHA-256 of the file must be, in base 16.
    pub sha256: Option<&'a str>,
    /// A block map of the image; one beside a file is found.
    pub bmap: Option<&'a Path>,
    /// Whether what stands beside a file is used.
    pub beside: bool,
    /// Threads that may decode.
    pub threads: u32,
    /// Who fetches what is at an address.
    pub client: Client,
    /// Set to stop waiting for the network.
    pub interrupted: Arc<AtomicBool>,
}

/// An image that is open.
pub struct Opened {
    /// As the user named it.
    pub name: String,
    /// How it is packed.
    pub compression: Compression,
    /// What it is checked against, in words.
    pub checks: Vec<String>,
    /// Its pieces in order, checked and without what nobody reads.
    pub source: Box<dyn Source + Send>,
}

/// An image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {name}: {source}")]
    Io {
        /// The image, as the user named it.
        name: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is something else.
    #[error("{name} is {kind}, expected a disk image")]
    Foreign {
        /// The image, as the user named it.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// It is damaged from the start.
    #[error("{name}: damaged or truncated {kind} stream: {source}")]
    Stream {
        /// The image, as the user named it.
        name: String,
        /// How it is packed.
        kind: &'static str,
        /// What the decoder says.
        source: io::Error,
    },
    /// The server does not give it.
    #[error("{name}: {source}")]
    Http {
        /// The address, without a login.
        name: String,
        /// What the network or the server says.
        source: net::Error,
    },
    /// What stands beside it cannot be used.
    #[error("{name}: {source}")]
    BlockMap {
        /// The block map.
        name: String,
        /// What is wrong with the map.
        source: bmap::Error,
    },
    /// What stands beside it cannot be used.
    #[error("{name}: {source}")]
    Sum {
        /// The file with the hash.
        name: String,
        /// What is wrong with its text.
        source: BadSum,
    },
}

impl Error {
    /// Whether the image itself is at fault, and not this machine or its network.
    #[must_use]
    pub const fn is_bad_source(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// The longest file with hashes that is read, in bytes.
const MAX_SUMS: u64 = 1 << 20;

/// Opens an image: a file, `-` for standard input, or an address that begins with `http://` or `https://`.
pub fn open(spec: &str, options: &Options<'_>) -> Result<Opened, Error> {
    // An address may have a login in it.
    let name = if is_address(spec) { net::shown(spec) } else { spec.to_owned() };
    let mut checks = Vec::new();
    let file = Path::new(spec);
    let mut raw = None;
    let (reader, len): (Box<dyn Read + Send>, Option<u64>) = match spec {
        "-" => (Box::new(Ahead::new(Box::new(io::stdin()), &options.interrupted)), None),
        _ if is_address(spec) => {
            let body =
                options.client.get(spec).map_err(|source| Error::Http { name: name.clone(), source })?;
            let len = body.content_length();
            (Box::new(Ahead::new(Box::new(body), &options.interrupted)), len)
        }
        _ => {
            let (file, len) = open_file(spec)?;
            raw = len.and_then(|len| Some((file.try_clone().ok()?, len)));
            (Box::new(file), len)
        }
    };
    let is_file = spec != "-" && !is_address(spec);
    let sum = match options.sha256 {
        Some(sum) => Some((sum.to_ascii_lowercase(), "--sha256".to_owned())),
        None if is_file && options.beside => sum_beside(file)?,
        None => None,
    };
    if let Some((_, from)) = &sum {
        checks.push(format!("SHA-256 of {from}"));
    }
    let has_sum = sum.is_some();
    let summed = Summed::new(reader, sum);
    let mut packed = BufReader::with_capacity(CHUNK, summed);
    let start = look(&mut packed).map_err(|source| io_error(&name, source))?;
    if let Some(kind) = foreign::kind(&start) {
        return Err(Error::Foreign { name, kind });
    }
    let compression = Compression::sniff(&start);
    let claim = match compression {
        Compression::None => len,
        Compression::Zstd => frame_len(&start),
        _ => None,
    };
    let damaged = |source| Error::Stream { name: name.clone(), kind: compression.name(), source };
    let stream: Box<dyn Source + Send> = match raw {
        // Without a hash there is no need to read what is known to be zeros.
        Some((file, len)) if compression == Compression::None && !has_sum => Box::new(Sparse::new(file, len)),
        _ => {
            let reader = compression.open_on(options.threads, Box::new(packed)).map_err(damaged)?;
            let len = len.filter(|_| compression == Compression::None);
            Box::new(Claimed { inner: Stream::new(reader, len), claim })
        }
    };
    let map = match options.bmap {
        Some(path) => Some(path.to_path_buf()),
        None if is_file && options.beside => bmap_beside(file),
        None => None,
    };
    let source: Box<dyn Source + Send> = match map {
        Some(path) => {
            checks.push(format!("block map {}", path.display()));
            Box::new(Mapped::new(stream, read_bmap(&path)?))
        }
        None => Box::new(Trim::new(stream)),
    };
    Ok(Opened { name, compression, checks, source })
}

/// Whether a name is one for the network.
#[must_use]
pub fn is_address(spec: &str) -> bool {
    spec.starts_with("http://") || spec.starts_with("https://")
}

fn io_error(name: &str, source: io::Error) -> Error {
    Error::Io { name: name.to_owned(), source }
}

fn open_file(spec: &str) -> Result<(File, Option<u64>), Error> {
    let failed = |source| io_error(spec, source);
    let mut opened = complete_file::open(Path::new(spec)).map_err(failed)?;
    let kind = opened.metadata().map_err(failed)?.file_type();
    if kind.is_dir() {
        return Err(Error::Foreign { name: spec.to_owned(), kind: "a directory" });
    }
    if !kind.is_file() && !std::os::unix::fs::FileTypeExt::is_block_device(&kind) {
        return Ok((opened, None));
    }
    let len = opened.seek(SeekFrom::End(0)).map_err(failed)?;
    let mut end = Vec::new();
    opened.seek(SeekFrom::Start(len.saturating_sub(512))).map_err(failed)?;
    (&opened).take(512).read_to_end(&mut end).map_err(failed)?;
    opened.rewind().map_err(failed)?;
    match foreign::kind_by_end(&end) {
        Some(kind) => Err(Error::Foreign { name: spec.to_owned(), kind }),
        None => Ok((opened, Some(len))),
    }
}

/// The first bytes, left where they are.
fn look(packed: &mut impl BufRead) -> io::Result<Vec<u8>> {
    // A pipe may give a few bytes at a time; what begins there is told by far fewer than these.
    let start = packed.fill_buf()?;
    Ok(start[..start.len().min(foreign::LOOK)].to_vec())
}

/// What the first frame says of its length.
fn frame_len(start: &[u8]) -> Option<u64> {
    zstd::zstd_safe::get_frame_content_size(start).ok().flatten()
}

/// A stream that claims a length; it is no less, for a frame that says so is decoded whole or not at all.
struct Claimed<S> {
    inner: S,
    claim: Option<u64>,
}

impl<S: Source> Source for Claimed<S> {
    fn len(&self) -> Option<u64> {
        self.claim
    }

    fn next(&mut self) -> Result<Option<crate::image::Piece<'_>>, crate::image::SourceError> {
        self.inner.next()
    }
}

/// The hash in `FILE.sha256`, where that is there.
fn sum_beside(image: &Path) -> Result<Option<(String, String)>, Error> {
    let path = with_suffix(image, ".sha256");
    let shown = path.display().to_string();
    let Some(text) = read_small(&path, MAX_SUMS)? else { return Ok(None) };
    let name = image.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match parse_sha256(&text, &name) {
        Ok(sum) => Ok(Some((sum, shown))),
        Err(source) => Err(Error::Sum { name: shown, source }),
    }
}

/// `FILE.bmap`, or `pi.img.bmap` beside `pi.img.zst`, or `pi.bmap`.
fn bmap_beside(image: &Path) -> Option<PathBuf> {
    let stem = image.with_extension("");
    let names = [with_suffix(image, ".bmap"), with_suffix(&stem, ".bmap"), image.with_extension("bmap")];
    names.into_iter().find(|path| path.is_file())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn read_bmap(path: &Path) -> Result<BlockMap, Error> {
    let name = path.display().to_string();
    let text = read_small(path, bmap::MAX_LEN)?
        .ok_or_else(|| io_error(&name, io::Error::from(io::ErrorKind::NotFound)))?;
    BlockMap::parse(&text).map_err(|source| Error::BlockMap { name, source })
}

/// A small text; `None` if it is not there.
fn read_small(path: &Path, limit: u64) -> Result<Option<String>, Error> {
    let name = path.display().to_string();
    let file = match complete_file::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(|source| io_error(&name, source))?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| io_error(&name, source))?;
    if ints::to_u64(bytes.len()) > limit {
        return Err(io_error(&name, io::Error::other(format!("it is longer than {limit} bytes"))));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
