//! Where images come from: files, pipes, the network; packed or not; with what stands beside them.
//!
//! [`open`] gives one [`Source`]: recognised by its first bytes and never by its name, decoded to its true end, checked
//! against the hash and the block map that belong to it, and without the zeros that nobody will read.

mod ahead;
mod error;
mod inside;
mod mapped;
mod own_len;
mod trim;

pub use error::Error;
pub use mapped::Mapped;
pub use trim::Trim;

use crate::format::disk::container;
use crate::format::file::bmap::{self, BlockMap};
use crate::format::file::sums::{parse_sha256, text_of};
use crate::image::Source;
use crate::image::read::layers::{self, Layers, Unpacked};
use crate::image::read::sparse::Sparse;
use crate::image::read::stream::Stream;
use crate::image::recognise::{self, Kind};
use crate::image::write::complete_file;
use crate::ints;
use crate::net::{self, Client};
use crate::stream::gzip;
use crate::stream::hash::Summed;
use crate::stream::zip::Wanted;
use ahead::Ahead;
use error::io_error;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
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
    /// What is written although it looks wrong.
    pub tolerance: Tolerance,
    /// Threads that may decode.
    pub threads: u32,
    /// Who fetches what is at an address.
    pub client: Client,
    /// Set to stop waiting for the network.
    pub interrupted: Arc<AtomicBool>,
}

/// What is taken although it looks like a mistake.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tolerance {
    /// Of an image that is shorter than its own table says.
    pub short: Short,
    /// Of bytes with neither a partition table nor a file system.
    pub unknown: Unknown,
}

/// What to do with an image that ends before its partitions do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Short {
    /// Half a download is no image.
    #[default]
    Refuse,
    /// Somebody means it.
    Take,
}

/// What to do with bytes that nothing is known of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// They are no image.
    #[default]
    Refuse,
    /// Somebody means it.
    Take,
}

/// Whether an image looks like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// There is a partition table, or a file system.
    Image,
    /// Nothing that is known.
    Unknown,
}

/// An image that is open.
pub struct Opened {
    /// As the user named it.
    pub name: String,
    /// How it is packed.
    pub layers: Layers,
    /// What it is checked against, in words.
    pub checks: Vec<String>,
    /// Whether it has neither a table nor a file system.
    pub contents: Contents,
    /// What is left out or taken although it looks odd, in words.
    pub notes: Vec<String>,
    /// Its pieces in order, checked and without what nobody reads.
    pub source: Box<dyn Source + Send>,
}

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// The longest file with hashes that is read, in bytes.
const MAX_SUMS: u64 = 1 << 20;

/// Opens an image: a file, `-` for standard input, or an address that begins with `http://` or `https://`.
pub fn open(spec: &str, options: &Options<'_>) -> Result<Opened, Error> {
    // An address may have a login in it.
    let name = if is_address(spec) { net::shown(spec) } else { spec.to_owned() };
    let (mut checks, mut notes) = (Vec::new(), Vec::new());
    let file = Path::new(spec);
    let Bytes { reader, len, raw, end } = bytes(spec, &name, options)?;
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
    let failed = |error| layers_failed(&name, error);
    let wanted = match &raw {
        Some((file, len)) => {
            let file = file.try_clone().map_err(|source| io_error(&name, source))?;
            layers::wanted(&file, || Ok(layers::from_start(file.try_clone()?, *len))).map_err(failed)?
        }
        None => Wanted::First,
    };
    let packed = Box::new(BufReader::with_capacity(CHUNK, summed));
    let mut unpacked = layers::unpack(packed, options.threads, &wanted).map_err(failed)?;
    if unpacked.layers.is_raw() {
        unpacked.len = len;
    }
    let footer = end.and_then(|end| end.container);
    let inside = inside::open(&name, &mut unpacked, footer, raw.as_ref(), has_sum)?;
    let Unpacked { layers, start, kind, len: claim, stream } = unpacked;
    let is_raw = layers.is_raw();
    let is_unknown = kind == Kind::Unknown && !start.is_empty();
    if is_unknown && let Some(kind) = end.filter(|end| end.is_zip).map(|_| SELF_UNPACKING) {
        return Err(Error::Foreign { name, kind: kind.to_owned() });
    }
    if is_unknown && options.tolerance.unknown == Unknown::Refuse {
        return Err(Error::Unknown { name });
    }
    let needed = own_len::of(&start).filter(|_| options.tolerance.short == Short::Refuse);
    // What is packed may have another frame behind the one that says its length.
    let claim = claim.filter(|found| is_raw || needed.is_none_or(|own| *found >= own.needed));
    if let (Some(found), Some(own_len::OwnLen { what, needed })) = (claim, needed)
        && found < needed
    {
        return Err(Error::Short { name, found, what, needed });
    }
    if end.is_some_and(|end| end.is_openwrt) && !is_raw {
        notes.push(format!("{name} ends in a description that OpenWrt appends; it is left out"));
    }
    let stream: Box<dyn Source + Send> = match (inside, raw) {
        (Some(inside), _) => Box::new(inside),
        // Without a hash there is no need to read what is known to be zeros.
        (None, Some((file, len))) if is_raw && !has_sum => Box::new(Sparse::new(file, len)),
        _ => {
            let len = claim.filter(|_| is_raw);
            Box::new(Claimed { inner: Stream::new(stream, len), claim })
        }
    };
    let stream: Box<dyn Source + Send> = match needed.filter(|_| claim.is_none()) {
        Some(needed) => Box::new(own_len::Whole::new(stream, needed)),
        None => stream,
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
    let contents = if is_unknown { Contents::Unknown } else { Contents::Image };
    Ok(Opened { name, layers, checks, contents, notes, source })
}

/// The bytes of an image as they come.
struct Bytes {
    reader: Box<dyn Read + Send>,
    /// How many there are, where that is known.
    len: Option<u64>,
    /// The file or device that they are in, and its length.
    raw: Option<(File, u64)>,
    /// What the end of that file tells.
    end: Option<End>,
}

fn bytes(spec: &str, name: &str, options: &Options<'_>) -> Result<Bytes, Error> {
    let ahead = |inner| Box::new(Ahead::new(inner, &options.interrupted));
    Ok(match spec {
        "-" => Bytes { reader: ahead(Box::new(io::stdin())), len: None, raw: None, end: None },
        _ if is_address(spec) => {
            let failed = |source| Error::Http { name: name.to_owned(), source };
            let body = options.client.get(spec).map_err(failed)?;
            let len = body.content_length();
            Bytes { reader: ahead(Box::new(body)), len, raw: None, end: None }
        }
        _ => {
            let (file, len, end) = open_file(spec)?;
            let raw = len.and_then(|len| Some((file.try_clone().ok()?, len)));
            Bytes { reader: Box::new(file), len, raw, end }
        }
    })
}

/// Whether a name is one for the network.
#[must_use]
pub fn is_address(spec: &str) -> bool {
    spec.starts_with("http://") || spec.starts_with("https://")
}

/// What the end of a file tells.
#[derive(Clone, Copy)]
struct End {
    is_zip: bool,
    is_openwrt: bool,
    container: Option<container::Kind>,
}

const SELF_UNPACKING: &str =
    "a zip archive with something in front of it, as a program that unpacks itself is; unpack it first";

fn layers_failed(name: &str, error: layers::Error) -> Error {
    let name = name.to_owned();
    match error {
        // The outermost reader compares sums: a short file is at its end while it is looked at.
        layers::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
            Error::Other { name, source }
        }
        layers::Error::Io(source) => Error::Io { name, source },
        layers::Error::Stream { kind, source } => Error::Stream { name, kind, source },
        layers::Error::Foreign(kind) => Error::Foreign { name, kind },
    }
}

fn open_file(spec: &str) -> Result<(File, Option<u64>, Option<End>), Error> {
    let failed = |source| io_error(spec, source);
    let mut opened = complete_file::open(Path::new(spec)).map_err(failed)?;
    let kind = opened.metadata().map_err(failed)?.file_type();
    if kind.is_dir() {
        return Err(Error::Foreign { name: spec.to_owned(), kind: "a directory".to_owned() });
    }
    if !kind.is_file() && !std::os::unix::fs::FileTypeExt::is_block_device(&kind) {
        return Ok((opened, None, None));
    }
    let len = opened.seek(SeekFrom::End(0)).map_err(failed)?;
    let mut end = Vec::new();
    opened.seek(SeekFrom::Start(len.saturating_sub(512))).map_err(failed)?;
    (&opened).take(512).read_to_end(&mut end).map_err(failed)?;
    opened.rewind().map_err(failed)?;
    if let Some(kind) = recognise::by_end(&end) {
        return Err(Error::Foreign { name: spec.to_owned(), kind: kind.to_owned() });
    }
    let trailer = end.len().checked_sub(gzip::FWTOOL_LEN).and_then(|at| end.get(at..));
    let is_openwrt = trailer.is_some_and(|trailer| trailer.starts_with(&gzip::FWTOOL));
    let (is_zip, container) = (recognise::ends_as_zip(&end), container::sniff_end(&end));
    Ok((opened, Some(len), Some(End { is_zip, is_openwrt, container })))
}

/// A stream that claims a length; it is no less, for a frame that says so is decoded whole or not at all. It may be
/// more, where frames follow.
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
    Ok(Some(text_of(&bytes)))
}
