//! FAT: its fields on the disk, and those who write and read it.

pub(crate) mod free_clusters;
pub mod ondisk;
pub mod read;
pub mod write;

pub use write::{Error, Fat, FatType, Fault, Kind, Label, Options, Summary, fold, plan};
