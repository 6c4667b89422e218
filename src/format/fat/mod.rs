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

mod entry;
mod geometry;
mod label;
mod name;
mod plan;
mod stamp;
pub mod volume;

pub use label::Label;
pub use name::Fault;
pub use plan::{Fat, plan};

use std::fmt;

/// Bytes of a sector of the volumes that are written here.
const SECTOR: u64 = 512;
/// Bytes of a slot of a directory.
const SLOT: u64 = 32;
/// The longest directory that Linux reads, in bytes (`FAT_MAX_DIR_SIZE`).
const MAX_DIRECTORY: u64 = 65_536 * SLOT;
/// The deepest directory: far below what the limits of paths allow elsewhere, so that recursion is bounded.
const MAX_DEPTH: usize = 128;
/// Attribute of a slot: the volume label.
const ATTR_VOLUME_ID: u8 = 0x08;
/// Attribute of a slot: a directory.
const ATTR_DIRECTORY: u8 = 0x10;
/// Attribute of a slot: a file that was changed since a backup, which every new file is.
const ATTR_ARCHIVE: u8 = 0x20;
/// Attributes of a slot with a part of a long name.
const ATTR_LONG_NAME: u8 = 0x0f;

/// Which type of FAT is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// FAT16 below 512 MiB, FAT32 from there on.
    Auto,
    /// FAT16, or an error where the size does not allow it.
    Fat16,
    /// FAT32, or an error where the size does not allow it.
    Fat32,
}

/// The type that a volume has; the number of its clusters decides, nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FatType {
    /// 4,085 to 65,524 clusters.
    Fat16,
    /// More clusters.
    Fat32,
}

impl fmt::Display for FatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
        })
    }
}

/// What the tree does not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// The length of the volume in bytes, a multiple of 512.
    pub size: u64,
    /// The label.
    pub label: Label,
    /// The volume id; `lsblk` shows 0x2178694e as `2178-694E`.
    pub volume_id: u32,
    /// The type.
    pub kind: Kind,
    /// How many sectors of the disk come before the volume.
    pub hidden_sectors: u32,
    /// The time of the label, seconds since 1970; what is before 1980 becomes 1980-01-01.
    pub epoch: u32,
}

/// A tree cannot become a FAT volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A label cannot be used.
    #[error(
        "the label {0:?} is not at most 11 of A-Z 0-9 space ! # $ % & ' ( ) - @ ^ _ ` {{ }} ~, the first no space"
    )]
    Label(String),
    /// The volume is not whole sectors.
    #[error("a volume of {0} bytes is not a multiple of 512")]
    Unaligned(u64),
    /// The size does not allow the type.
    #[error("a volume of {size} bytes cannot be {fat}: no cluster size gives it a legal number of clusters")]
    Size {
        /// Its length in bytes.
        size: u64,
        /// The type.
        fat: FatType,
    },
    /// The root of the tree is not a directory.
    #[error("the root of the tree is not a directory")]
    RootKind,
    /// A symlink.
    #[error("{path:?} is a symlink, which FAT does not have")]
    Symlink {
        /// Where.
        path: String,
    },
    /// A name that FAT does not hold.
    #[error("{path:?}: the name {fault}")]
    Name {
        /// Where.
        path: String,
        /// Why.
        fault: Fault,
    },
    /// Two names that FAT cannot tell apart.
    #[error("{path:?} and {other:?} differ only in case, which FAT does not tell apart")]
    Case {
        /// One of them.
        path: String,
        /// The name of the other.
        other: String,
    },
    /// A file is too long.
    #[error("{path:?} has {len} bytes, FAT holds at most 4294967295")]
    FileTooLong {
        /// Where.
        path: String,
        /// Its length in bytes.
        len: u64,
    },
    /// A directory is too long.
    #[error("the directory {path:?} needs {needed} slots (a long name takes several), it can have {given}")]
    DirectoryTooLong {
        /// Where; the root is empty.
        path: String,
        /// That many slots of 32 bytes are needed.
        needed: u64,
        /// That many there are.
        given: u64,
    },
    /// Directories are nested too deeply.
    #[error("{path:?} is more than {MAX_DEPTH} directories deep")]
    TooDeep {
        /// Where.
        path: String,
    },
    /// The tree does not fit.
    #[error("files and directories need {needed} bytes in clusters of {cluster}, the volume has {given}")]
    Full {
        /// That many bytes are needed.
        needed: u64,
        /// That many there are.
        given: u64,
        /// Bytes of a cluster.
        cluster: u64,
    },
}

/// The numbers of a planned volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its type.
    pub kind: FatType,
    /// Bytes of a cluster.
    pub cluster_bytes: u64,
    /// Clusters in all.
    pub clusters: u64,
    /// Bytes in clusters that nothing uses.
    pub free_bytes: u64,
}

/// Turns a name into the form in which FAT compares it. This is what `fatfs` does and coarser than Windows and Linux
/// (`ß` becomes `SS`): two names that differ here differ for every reader.
#[must_use]
pub fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).collect()
}

/// The checksum of a short name that ties the slots of a long name to it.
fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}
