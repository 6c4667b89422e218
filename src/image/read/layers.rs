//! Packed images, opened layer by layer until something is in hand that is not packed.

use crate::image::recognise::{Kind, LOOK, recognise};
use crate::ints;
use crate::stream::ReadAt;
use crate::stream::archive::choose;
use crate::stream::decompress::Compression;
use crate::stream::tar::{self, Tar};
use crate::stream::zip::{Wanted, Zip};
use crate::stream::zip_directory;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::os::unix::fs::FileExt;

/// Layers that are opened at most; nobody packs an image more often by mistake.
const MOST: usize = 5;
/// Bytes read ahead of a layer that is an archive.
const BUFFER: usize = 256 << 10;

/// A stream that can be sent to another thread.
pub type Stream<'a> = Box<dyn BufRead + Send + 'a>;

/// A file from its first byte, wherever others that share it are.
pub fn from_start(file: File, len: u64) -> Stream<'static> {
    buffered(FromStart { file, at: 0, len })
}

/// Reads a file by position.
struct FromStart {
    file: File,
    at: u64,
    len: u64,
}

impl Read for FromStart {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(ints::to_usize(self.len.saturating_sub(self.at)));
        let read = self.file.read_at(&mut buf[..most], self.at)?;
        self.at += ints::to_u64(read);
        Ok(read)
    }
}

/// How an image is packed, from the outside in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers(Vec<&'static str>);

impl Layers {
    /// Whether it is not packed at all.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what is inside all others.
    pub fn push(&mut self, name: &'static str) {
        self.0.push(name);
    }

    /// In words: `raw`, `xz`, or `tar in gzip`.
    #[must_use]
    pub fn name(&self) -> String {
        if self.0.is_empty() {
            return "raw".to_owned();
        }
        self.0.iter().rev().copied().collect::<Vec<_>>().join(" in ")
    }
}

/// What is inside all layers.
pub struct Unpacked<'a> {
    /// How it is packed.
    pub layers: Layers,
    /// Its first bytes, which the stream gives again.
    pub start: Vec<u8>,
    /// What they are the start of: an image, or nothing that is known.
    pub kind: Kind,
    /// Its length, where a layer says it for certain.
    pub len: Option<u64>,
    /// Its bytes, decoded to the true end.
    pub stream: Stream<'a>,
}

/// What is inside is no image, or cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The outermost bytes cannot be read.
    #[error(transparent)]
    Io(io::Error),
    /// A layer is damaged.
    #[error("damaged or truncated {kind} stream: {source}")]
    Stream {
        /// How it is packed.
        kind: &'static str,
        /// What the decoder says.
        source: io::Error,
    },
    /// It is something else.
    #[error("{0}")]
    Foreign(String),
}

/// Reads some first bytes, and gives a stream that has them still.
fn peek(mut stream: Stream<'_>) -> io::Result<(Vec<u8>, Stream<'_>)> {
    let mut start = Vec::new();
    (&mut stream).take(ints::to_u64(LOOK)).read_to_end(&mut start)?;
    let again = Box::new(Cursor::new(start.clone()).chain(stream));
    Ok((start, again))
}

/// Opens all layers. `wanted` is the file of an archive, where that is known.
pub fn unpack<'a>(stream: Stream<'a>, threads: u32, wanted: &Wanted) -> Result<Unpacked<'a>, Error> {
    let mut layers = Layers::default();
    let (mut stream, mut len) = (stream, None);
    loop {
        let inner = layers.0.last().copied();
        let failed = |source| match inner {
            None => Error::Io(source),
            Some(kind) => Error::Stream { kind, source },
        };
        let start;
        (start, stream) = peek(stream).map_err(failed)?;
        let kind = recognise(&start);
        let packed = match kind {
            Kind::Foreign(kind) => return Err(foreign(kind, &layers)),
            Kind::Packed(packed) => packed,
            Kind::Tar => Compression::None,
            Kind::Image | Kind::Container(_) | Kind::Unknown => {
                return Ok(Unpacked { layers, start, kind, len, stream });
            }
        };
        let name = if packed == Compression::None { "tar" } else { packed.name() };
        if layers.0.len() == MOST {
            return Err(foreign(&format!("packed more than {MOST} times"), &layers));
        }
        layers.0.push(name);
        let damaged = |source| Error::Stream { kind: name, source };
        (stream, len) = match packed {
            Compression::None => {
                let tar = Tar::open(stream, wanted).map_err(damaged)?;
                let len = tar.len();
                (buffered(tar), Some(len))
            }
            Compression::Zip => (buffered(Zip::open(stream, wanted).map_err(damaged)?), None),
            Compression::Zstd => (packed.open_on(threads, stream).map_err(damaged)?, frame_len(&start)),
            packed => (packed.open_on(threads, stream).map_err(damaged)?, None),
        };
    }
}

fn buffered<'a>(reader: impl Read + Send + 'a) -> Stream<'a> {
    Box::new(BufReader::with_capacity(BUFFER, reader))
}

fn foreign(kind: &str, layers: &Layers) -> Error {
    Error::Foreign(if layers.is_raw() {
        kind.to_owned()
    } else {
        format!("packed as {}, and inside it is {kind}", layers.name())
    })
}

/// What the first frame says of its length.
fn frame_len(start: &[u8]) -> Option<u64> {
    zstd::zstd_safe::get_frame_content_size(start).ok().flatten()
}

/// Which file of the archive in `file`, if it is one below all compressors, is the image. A zip archive says so by the
/// directory at its end; a tar archive has to be read to its end, which is worth the time: a card would be lost.
///
/// # Errors
///
/// In words: that there is no such file, or that there are several.
pub fn wanted<'a>(
    file: &dyn ReadAt,
    again: impl FnOnce() -> io::Result<Stream<'a>>,
) -> Result<Wanted, Error> {
    let mut start = vec![0; LOOK.min(ints::to_usize(file.size()))];
    file.read_exact_at(&mut start, 0).map_err(Error::Io)?;
    let (names, kind) = match recognise(&start) {
        Kind::Packed(Compression::Zip) => (zip_directory::names(file).map_err(Error::Io)?, "zip"),
        Kind::Tar | Kind::Packed(_) => (tar_names(again().map_err(Error::Io)?)?, "tar"),
        _ => (None, ""),
    };
    let Some(names) = names else { return Ok(Wanted::First) };
    let damaged =
        |why: String| Error::Stream { kind, source: io::Error::new(io::ErrorKind::InvalidData, why) };
    choose(&names).map(|name| Wanted::Named(name.to_vec())).map_err(damaged)
}

/// The names in a tar archive below compressors; `None` for anything else.
fn tar_names(mut stream: Stream<'_>) -> Result<Option<Vec<Vec<u8>>>, Error> {
    let mut kind = "tar";
    for _ in 0..MOST {
        let start;
        (start, stream) = peek(stream).map_err(|source| Error::Stream { kind, source })?;
        match recognise(&start) {
            Kind::Tar => {
                return tar::names(stream).map(Some).map_err(|source| Error::Stream { kind: "tar", source });
            }
            Kind::Packed(Compression::Zip) => return Ok(None),
            Kind::Packed(packed) => {
                kind = packed.name();
                stream = packed.open(stream).map_err(|source| Error::Stream { kind, source })?;
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}
