//! Images in containers of virtual machines: their parts are read out of order, which needs a file.

use super::error::{Error, io_error};
use crate::format::disk::container;
use crate::image::Inside;
use crate::image::read::layers::Unpacked;
use crate::image::recognise::{Kind, LOOK, recognise};
use crate::ints;
use std::fs::File;
use std::io;

/// Opens what is in a container, if `unpacked` is one, or ends with the `footer` of one; it is then what is inside.
pub(super) fn open(
    name: &str,
    unpacked: &mut Unpacked<'_>,
    footer: Option<container::Kind>,
    file: Option<&(File, u64)>,
    has_sum: bool,
) -> Result<Option<Inside>, Error> {
    let kind = match (unpacked.kind, footer) {
        (Kind::Container(kind), _) => kind,
        (Kind::Image | Kind::Unknown, Some(kind)) if unpacked.layers.is_raw() => kind,
        _ => return Ok(None),
    };
    let file = match file {
        Some((file, _)) if unpacked.layers.is_raw() => file,
        _ => {
            let (kind, packed) = (kind.name(), unpacked.layers.name());
            let how = if unpacked.layers.is_raw() {
                "in a stream".to_owned()
            } else {
                format!("packed as {packed}")
            };
            let kind = format!(
                "a {kind} image {how}, whose parts cannot be read out of order; unpack it into a file"
            );
            return Err(Error::Foreign { name: name.to_owned(), kind });
        }
    };
    // All of the file is hashed before any of it is used: it is not read in its order afterwards.
    if has_sum {
        let read = io::copy(&mut unpacked.stream, &mut io::sink());
        read.map_err(|source| match source.kind() {
            io::ErrorKind::InvalidData => Error::Stream { name: name.to_owned(), kind: kind.name(), source },
            _ => io_error(name, source),
        })?;
    }
    let file = file.try_clone().map_err(|source| io_error(name, source))?;
    let disk = container::open(kind, file).map_err(|source| match source {
        container::Error::Io(source) => io_error(name, source),
        source => Error::Container { name: name.to_owned(), source },
    })?;
    let mut start = vec![0; LOOK.min(ints::to_usize(disk.size()))];
    disk.read_exact_at(&mut start, 0).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => {
            let source = container::Error::Damaged { kind, what: source.to_string() };
            Error::Container { name: name.to_owned(), source }
        }
        _ => io_error(name, source),
    })?;
    unpacked.kind = match recognise(&start) {
        Kind::Image => Kind::Image,
        _ => Kind::Unknown,
    };
    unpacked.start = start;
    unpacked.len = Some(disk.size());
    unpacked.layers.push(kind.name());
    Ok(Some(Inside::new(disk)))
}
