//! FAT16 and FAT32: written as a plan of extents, read only after a bounded check.
//!
//! ```text
//! FAT16 | boot sector, reserved | FAT | FAT | root, 512 slots | cluster 2 | 3 | ...
//! FAT32 | boot, FSInfo, copies at 6 and 7, reserved | FAT | FAT | cluster 2: root | ...
//! ```
//! [`plan`] gives every directory and file one run of clusters: directories first, then files, both in the order in
//! which the tree is walked. So a volume is written in one ascending pass, and clusters that nothing uses are don't
//! care. Times are UTC. The own writer is needed because `fatfs` 0.3.6 writes volumes that `fsck.fat` rejects and
//! takes the type from the size whatever it is told; it serves as the reader, see [`volume`].
//!
//! Source: Microsoft, "FAT32 File System Specification" (fatgen103); sizes as `mkfs.fat` 4.2 chooses them.

mod geometry;
pub(crate) mod options;
mod plan;

pub use super::ondisk::label::Label;
pub use super::ondisk::name::Fault;
pub use plan::{Fat, plan};

pub use super::ondisk::case::fold;
pub use options::Error;
pub use options::FatType;
pub use options::Kind;
pub use options::Options;
pub use options::Summary;
