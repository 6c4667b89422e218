//! VDI 1.1 (VirtualBox's `VDICore.h`).

pub(in crate::format::disk::container) mod ondisk;
pub(in crate::format::disk::container) mod read;
mod write;

pub use write::{Ids, Vdi};
