//! What an ext4 is to be, why it cannot be, and the numbers of one that is planned.

use crate::format::disk::ext4::ondisk::block::BLOCK;

/// A volume label: at most 16 bytes, none of them NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(pub(crate) [u8; 16]);

impl Label {
    /// Checks a label.
    pub fn new(label: &[u8]) -> Result<Self, Error> {
        let mut bytes = [0; 16];
        match bytes.get_mut(..label.len()) {
            Some(front) if !label.contains(&0) => front.copy_from_slice(label),
            _ => return Err(Error::Label(String::from_utf8_lossy(label).into_owned())),
        }
        Ok(Self(bytes))
    }
}

/// How long a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// That many bytes; a rest that is no block, or too small a last group, stays unused.
    Exact(u64),
    /// As short as it can be with room for more.
    Smallest {
        /// Bytes that can still be written, by root; of these 1 % of the file system is kept from others.
        free_bytes: u64,
        /// Inodes that can still be made.
        free_inodes: u32,
    },
}

/// What a file system is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An image: unused inode tables are zeros, so that the same image is the same bits everywhere.
    Image,
    /// A card: unused inode tables are left as they are, for the kernel to zero when it has time.
    Card,
}

/// What the tree does not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long it is.
    pub size: Size,
    /// The UUID, also the seed of all checksums.
    pub uuid: [u8; 16],
    /// The seed of directory hashes.
    pub hash_seed: [u8; 16],
    /// The label, which `lsblk` and `/dev/disk/by-label` show.
    pub label: Label,
    /// All times but mtimes, seconds since 1970.
    pub epoch: u32,
    /// What it is made for.
    pub purpose: Purpose,
    /// A directory, as in `/nix/store`, whose files come first: where their blocks are depends on nothing else. Empty
    /// for none.
    pub front: String,
}

/// A tree cannot become a file system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The root of the tree is not a directory.
    #[error("the root of the tree is not a directory")]
    RootKind,
    /// A name cannot be used.
    #[error("{path:?} {message}")]
    Name {
        /// The path from the root of the tree, with slashes.
        path: String,
        /// What is wrong there, as the end of a sentence.
        message: &'static str,
    },
    /// A symlink's target cannot be used.
    #[error("{path:?}: the target of a symlink has {len} bytes, expected 1 to 4095 and no NUL")]
    Target {
        /// The path from the root of the tree, with slashes.
        path: String,
        /// Its length in bytes.
        len: usize,
    },
    /// A file is too long.
    #[error("{path:?} has {len} bytes, more than ext4 can hold")]
    FileTooLong {
        /// The path from the root of the tree, with slashes.
        path: String,
        /// Its length in bytes.
        len: u64,
    },
    /// A label is too long.
    #[error("the label {0:?} has more than 16 bytes or a NUL")]
    Label(String),
    /// The tree does not fit.
    #[error("{needed} bytes are needed, there are {given}")]
    TooSmall {
        /// At least that many bytes are needed.
        needed: u64,
        /// That many there are.
        given: u64,
    },
    /// More than ext4 without the 64bit feature can hold.
    #[error("the file system would be larger than 16 TiB or have more than 2^32 inodes")]
    TooLarge,
}

/// The numbers of a planned file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Blocks of 4096 bytes.
    pub blocks: u64,
    /// Blocks that hold nothing.
    pub free_blocks: u64,
    /// Blocks of those that only root can use.
    pub reserved_blocks: u64,
    /// Inodes in all.
    pub inodes: u64,
    /// Inodes that are not used.
    pub free_inodes: u64,
    /// Block groups of 128 MiB, the last one maybe shorter.
    pub groups: u64,
    /// Blocks of the journal.
    pub journal_blocks: u64,
}

impl Summary {
    /// Bytes that can still be written, by root.
    #[must_use]
    pub const fn free_bytes(&self) -> u64 {
        self.free_blocks * BLOCK
    }
}
