//! The sink of each container.

use super::blocks::Blocks;
use super::disk::{Disk, Form};
use super::qcow2::Qcow2;
use super::vhd::Vhd;
use super::vmdk::Vmdk;
use crate::format::disk::container::{Head, qcow2, vdi, vhdx};
use crate::image::sink::{Sink, SinkError};
use crate::image::write::raw::Raw;
use std::fs::File;
use std::io;

/// A container in a new, empty file, which is called `target` in errors.
pub fn into_file(
    form: Form,
    file: File,
    target: &str,
    disk: &Disk,
    threads: u32,
) -> Result<Box<dyn Sink>, SinkError> {
    match form {
        Form::PackedQcow2 { compression, level } => {
            let sink = Qcow2::begin(file, target, disk, (compression, level), threads);
            Ok(Box::new(sink.map_err(|source| SinkError::Io { target: target.to_owned(), source })?))
        }
        form => into_sink(form, Box::new(Raw::new(file, target)), target, disk, threads),
    }
}

/// A container in whatever takes bytes in their order.
///
/// # Errors
/// Also where the form cannot be written in order ([`Form::is_stream`]), or cannot hold a disk of that length.
pub fn into_sink<'a>(
    form: Form,
    inner: Box<dyn Sink + 'a>,
    target: &str,
    disk: &Disk,
    threads: u32,
) -> Result<Box<dyn Sink + 'a>, SinkError> {
    let refused = |what: String| SinkError::Io { target: target.to_owned(), source: io::Error::other(what) };
    let (size, data) = (disk.size, &disk.data[..]);
    let head: Option<Box<dyn Head>> = match form {
        Form::PackedQcow2 { .. } => {
            return Err(refused(
                "the header of a packed qcow2 is written last, which needs a file".to_owned(),
            ));
        }
        Form::Vhd => return Ok(Box::new(Vhd::new(inner, disk.uuid("vhd")))),
        Form::Vmdk { level } => return Ok(Box::new(Vmdk::begin(inner, target, disk, level, threads)?)),
        Form::PlainQcow2 => qcow2::Plain::new(size, data).map(|head| Box::new(head) as _),
        Form::Vdi => {
            let ids = vdi::Ids { image: disk.uuid("vdi"), change: disk.uuid("change of a vdi") };
            vdi::Vdi::new(size, data, ids).map(|head| Box::new(head) as _)
        }
        Form::Vhdx => {
            let ids = vhdx::Ids {
                file: disk.uuid("file of a vhdx"),
                data: disk.uuid("data of a vhdx"),
                disk: disk.uuid("vhdx"),
            };
            vhdx::Vhdx::new(size, data, ids).map(|head| Box::new(head) as _)
        }
    };
    let name = form.kind().name();
    let head =
        head.ok_or_else(|| refused(format!("a disk of {size} bytes is longer than a {name} can be")))?;
    Ok(Box::new(Blocks::begin(inner, head, target)?))
}
