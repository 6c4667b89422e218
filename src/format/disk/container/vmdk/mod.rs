//! VMDK in one file: monolithicSparse and streamOptimized (VMware's "Virtual Disk Format 5.0").

mod descriptor;
pub(in crate::format::disk::container) mod ondisk;
pub(in crate::format::disk::container) mod read;
mod write;

pub use ondisk::GRAIN;
pub use write::{Ids, TooLong, Vmdk};
