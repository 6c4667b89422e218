//! Why a tree cannot become a FAT volume.

use crate::format::disk::fat::ondisk::boot_sector::FatType;
use crate::format::disk::fat::ondisk::name::Fault;
use crate::format::disk::fat::ondisk::slot::MAX_DEPTH;

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
        /// The type that it should have.
        fat: FatType,
    },
    /// The root of the tree is not a directory.
    #[error("the root of the tree is not a directory")]
    RootKind,
    /// A symlink.
    #[error("{path:?} is a symlink, which FAT does not have")]
    Symlink {
        /// The path from the root of the tree, with slashes.
        path: String,
    },
    /// A name that FAT does not hold.
    #[error("{path:?}: the name {fault}")]
    Name {
        /// The path from the root of the tree, with slashes.
        path: String,
        /// What is wrong, as the end of a sentence.
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
        /// The path from the root of the tree, with slashes.
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
        /// The path from the root of the tree, with slashes.
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
