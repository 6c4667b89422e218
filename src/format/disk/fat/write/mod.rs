//! FAT16 and FAT32: written as a plan of extents, read only after a bounded check.
//!
//! [`plan`] gives every directory and file one run of clusters: directories first, then files, both in the order in
//! which the tree is walked. So a volume is written in one ascending pass, and clusters that nothing uses are don't
//! care. Times are UTC. The own writer is needed because `fatfs` 0.3.6 writes volumes that `fsck.fat` rejects and
//! takes the type from the size whatever it is told; it serves as the reader.
//!
//! Source: Microsoft, "FAT32 File System Specification" (fatgen103); sizes as `mkfs.fat` 4.2 chooses them.

mod error;
mod geometry;
mod label;
mod options;
mod plan;

pub use error::Error;
pub use label::Label;
pub use options::{Kind, Options, Summary};
pub use plan::{Fat, plan};
