//! What a FAT is to be, and why it cannot be.

use crate::format::disk::fat::ondisk::label::Label;
use crate::format::disk::fat::ondisk::name::Fault;
use crate::format::disk::fat::ondisk::slot::MAX_DEPTH;
use std::fmt;

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
        "the label {0:?} is not at most 11 of A-Z a-z 0-9 space ! # $ % & ' ( ) - @ ^ _ ` {{ }} ~, the first no space"
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
