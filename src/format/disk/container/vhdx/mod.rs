//! VHDX (Microsoft's MS-VHDX).

pub(in crate::format::disk::container) mod ondisk;
pub(in crate::format::disk::container) mod read;
mod write;

pub use write::{Ids, Vhdx};
