//! The sink of each container.

use super::blocks::Blocks;
use super::disk::{Disk, Form};
use super::placed::Placed;
use super::qcow2::Qcow2;
use super::vhd::Vhd;
use super::vmdk::Vmdk;
use crate::format::disk::container::{Head, qcow2, vdi, vhdx};
use crate::image::sink::{Sink, SinkError};
use crate::image::write::complete_file::Places;
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
    match form {
        Form::PackedQcow2 { .. } => {
            let what = "the header of a packed qcow2 is written last, which needs a file";
            Err(refused(target, what.to_owned()))
        }
        Form::Vhd => Ok(Box::new(Vhd::new(inner, disk.uuid("vhd")))),
        Form::Vmdk { level } => Ok(Box::new(Vmdk::begin(inner, target, disk, level, threads)?)),
        form => match head(form, disk).map_err(|what| refused(target, what))? {
            Some(head) => Ok(Box::new(Blocks::begin(inner, head, target)?)),
            None => Err(refused(target, format!("a {} has no tables in front", form.kind().name()))),
        },
    }
}

/// Where all of a container goes, so that it may be written all over at once; `None` for one that has to be written in
/// its order.
///
/// # Errors
/// Where the form cannot hold a disk of that length.
pub fn places(form: Form, target: &str, disk: &Disk) -> Result<Option<Box<dyn Places>>, SinkError> {
    let head = head(form, disk).map_err(|what| refused(target, what))?;
    Ok(head.map(|head| Box::new(Placed::new(head)) as _))
}

fn refused(target: &str, what: String) -> SinkError {
    SinkError::Io { target: target.to_owned(), source: io::Error::other(what) }
}

/// The tables of a container that has them all in front, or what it cannot hold.
fn head(form: Form, disk: &Disk) -> Result<Option<Box<dyn Head>>, String> {
    let (size, data) = (disk.size, &disk.data[..]);
    let head: Option<Box<dyn Head>> = match form {
        Form::PackedQcow2 { .. } | Form::Vhd | Form::Vmdk { .. } => return Ok(None),
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
    head.map(Some).ok_or_else(|| format!("a disk of {size} bytes is longer than a {name} can be"))
}
