//! Opening a container of whatever format.

use super::disk::Disk;
use super::error::Error;
use super::kind::Kind;
use super::{qcow2, vdi, vhd, vhdx, vmdk};
use crate::stream::ReadAt;
use std::io;

/// Opens the disk in a container. All its tables are looked through.
///
/// # Errors
/// [`Error::Unread`] for a form that is not read, such as one with a backing file; [`Error::Damaged`].
pub fn open<'a, T: ReadAt + Send + Sync + 'a>(kind: Kind, file: T) -> Result<Box<dyn Disk + 'a>, Error> {
    let disk = match kind {
        Kind::Qcow2 => qcow2::read::open(file),
        Kind::Vdi => vdi::read::open(file),
        Kind::Vhd => vhd::read::open(file),
        Kind::Vhdx => vhdx::read::open(file),
        Kind::Vmdk => vmdk::read::open(file),
    }?;
    match disk.check() {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Error::Damaged { kind, what: error.to_string() })
        }
        result => Ok(result.map(|()| disk)?),
    }
}
