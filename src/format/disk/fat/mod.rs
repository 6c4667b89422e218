//! FAT: one table of what lies where on the disk, and those who write and read it.

pub(crate) mod free_clusters;
pub mod ondisk;
pub mod read;
pub mod write;

pub use ondisk::boot_sector::FatType;
pub use ondisk::case::fold;
pub use ondisk::name::Fault;
pub use write::{Error, Fat, Kind, Label, Options, Summary, plan};
