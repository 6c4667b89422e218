//! Opening a container of whatever format.

use super::disk::Disk;
use super::error::Error;
use super::kind::Kind;
use super::{qcow2, vdi, vhd, vhdx, vmdk};
use crate::stream::ReadAt;

/// Opens the disk in a container.
///
/// # Errors
/// [`Error::Unread`] for a form that is not read, such as one with a backing file; [`Error::Damaged`].
pub fn open<'a, T: ReadAt + Send + Sync + 'a>(kind: Kind, file: T) -> Result<Box<dyn Disk + 'a>, Error> {
    match kind {
        Kind::Qcow2 => qcow2::read::open(file),
        Kind::Vdi => vdi::read::open(file),
        Kind::Vhd => vhd::read::open(file),
        Kind::Vhdx => vhdx::read::open(file),
        Kind::Vmdk => vmdk::read::open(file),
    }
}
