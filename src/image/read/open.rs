//! Opening an image to look at it: raw as it is, compressed through an unlinked temporary file with holes.

use super::layers::{self, Layers};
use crate::format::disk::container;
use crate::format::disk::container::Disk;
use crate::image::recognise::{self, Kind};
use crate::ints;
use crate::stream::ReadAt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

/// The longest image that is decoded, in bytes.
const MAX_DECODED: u64 = 1 << 40;
/// Runs of zeros shorter than this are written.
const HOLE: usize = 4096;

/// An image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The image, as the user named it.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is truncated or damaged.
    #[error("{path}: damaged or truncated {kind} stream: {source}")]
    Stream {
        /// The image, as the user named it.
        path: String,
        /// How it is compressed.
        kind: String,
        /// What the decoder says.
        source: io::Error,
    },
    /// It is something else.
    #[error("{path} is {kind}, expected a disk image or a device")]
    Foreign {
        /// The image, as the user named it.
        path: String,
        /// What it is.
        kind: String,
    },
    /// It is a container that cannot be read.
    #[error("{path} is {source}")]
    Container {
        /// The image.
        path: String,
        /// Why.
        source: container::Error,
    },
    /// It is longer than any card.
    #[error("{path} is longer than {MAX_DECODED} bytes when decoded")]
    TooLong {
        /// The image, as the user named it.
        path: String,
    },
    /// There is no room to decode it.
    #[error("cannot decode {path} in {directory}: {source}")]
    Scratch {
        /// The image, as the user named it.
        path: String,
        /// Where temporary files go.
        directory: String,
        /// What the operating system says.
        source: io::Error,
    },
}

/// An image that can be read at any place.
pub struct Image {
    /// How it is packed.
    pub layers: Layers,
    bytes: Bytes,
}

/// Where its bytes are.
enum Bytes {
    File { file: File, len: u64 },
    Inside(Box<dyn Disk>),
}

impl ReadAt for Image {
    fn size(&self) -> u64 {
        match &self.bytes {
            Bytes::File { len, .. } => *len,
            Bytes::Inside(disk) => disk.size(),
        }
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.bytes {
            Bytes::File { file, .. } => FileExt::read_exact_at(file, buf, offset),
            Bytes::Inside(disk) => disk.read_exact_at(buf, offset),
        }
    }
}

/// Opens an image or a device. What is compressed is decoded into `scratch`, under no name.
pub fn open(path: &Path, scratch: &Path) -> Result<Image, Error> {
    let shown = path.display().to_string();
    let failed = |source: io::Error| Error::Io { path: shown.clone(), source };
    let file = crate::image::write::complete_file::open(path).map_err(failed)?;
    let kind = file.metadata().map_err(failed)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(Error::Foreign {
            path: shown,
            kind: if kind.is_dir() { "a directory" } else { "no regular file" }.to_owned(),
        });
    }
    let len = ReadAt::size(&file);
    if kind.is_block_device() {
        return Ok(Image { layers: Layers::default(), bytes: Bytes::File { file, len } });
    }
    let end = end_of(&file, len).map_err(failed)?;
    if let Some(kind) = recognise::by_end(&end) {
        return Err(Error::Foreign { path: shown, kind: kind.to_owned() });
    }
    let layered = |error| layers_failed(&shown, error);
    let again = || Ok(layers::from_start(file.try_clone()?, len));
    let wanted = layers::wanted(&file, again).map_err(layered)?;
    let packed = layers::from_start(file.try_clone().map_err(failed)?, len);
    let unpacked = layers::unpack(packed, 1, &wanted).map_err(layered)?;
    if unpacked.layers.is_raw() {
        return inside(&shown, unpacked.layers, unpacked.kind, file, len);
    }
    let kind = unpacked.kind;
    let (layers, mut reader) = (unpacked.layers, unpacked.stream);
    let unpacked =
        tempfile::tempfile_in(scratch).map_err(|source| scratch_failed(&shown, scratch, source))?;
    let stream = |source: io::Error| Error::Stream { path: shown.clone(), kind: layers.name(), source };
    let mut len = 0;
    loop {
        let chunk = reader.fill_buf().map_err(stream)?;
        if chunk.is_empty() {
            break;
        }
        let taken = chunk.len();
        if len + ints::to_u64(taken) > MAX_DECODED {
            return Err(Error::TooLong { path: shown });
        }
        write_sparse(&unpacked, chunk, len).map_err(|source| scratch_failed(&shown, scratch, source))?;
        reader.consume(taken);
        len += ints::to_u64(taken);
    }
    unpacked.set_len(len).map_err(|source| scratch_failed(&shown, scratch, source))?;
    inside(&shown, layers, kind, unpacked, len)
}

/// The last bytes of a file, at most 512.
fn end_of(file: &File, len: u64) -> io::Result<Vec<u8>> {
    let mut end = vec![0; ints::to_usize(len.min(512))];
    FileExt::read_exact_at(file, &mut end, len - len.min(512))?;
    Ok(end)
}

/// An image that is unpacked: the disk inside it, where it is a container.
fn inside(path: &str, mut layers: Layers, kind: Kind, file: File, len: u64) -> Result<Image, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let container = match kind {
        Kind::Container(kind) => Some(kind),
        _ => container::sniff_end(&end_of(&file, len).map_err(io)?),
    };
    let Some(kind) = container else { return Ok(Image { layers, bytes: Bytes::File { file, len } }) };
    let disk = container::open(kind, file).map_err(|source| match source {
        container::Error::Io(source) => io(source),
        source => Error::Container { path: path.to_owned(), source },
    })?;
    layers.push(kind.name());
    Ok(Image { layers, bytes: Bytes::Inside(disk) })
}

fn layers_failed(path: &str, error: layers::Error) -> Error {
    let path = path.to_owned();
    match error {
        layers::Error::Io(source) => Error::Io { path, source },
        layers::Error::Stream { kind, source } => Error::Stream { path, kind: kind.to_owned(), source },
        layers::Error::Foreign(kind) => Error::Foreign { path, kind },
    }
}

fn scratch_failed(path: &str, directory: &Path, source: io::Error) -> Error {
    Error::Scratch { path: path.to_owned(), directory: directory.display().to_string(), source }
}

fn write_sparse(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let block = &bytes[at..bytes.len().min(at + HOLE)];
        if block.iter().all(|b| *b == 0) {
            at += block.len();
            continue;
        }
        let mut end = at + block.len();
        while end < bytes.len() && bytes[end..bytes.len().min(end + HOLE)].iter().any(|b| *b != 0) {
            end = bytes.len().min(end + HOLE);
        }
        file.write_all_at(&bytes[at..end], offset + ints::to_u64(at))?;
        at = end;
    }
    Ok(())
}
