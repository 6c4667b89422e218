//! Why something cannot be read.

use std::io;

/// How many symlinks a path may lead over, as in Linux.
pub(crate) const MAX_SYMLINKS: u32 = 40;
/// How many bytes are read to find paths, all together: a thousand paths in a store of 40,000, or some seconds of work
/// for a hostile file system.
pub(crate) const MAX_SEARCHED: u64 = 4 << 30;

/// A file system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device fails.
    #[error("cannot read at byte {offset}: {source}")]
    Io {
        /// Where in the file system.
        offset: u64,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no ext2, ext3 or ext4.
    #[error("there is no ext4 file system")]
    None,
    /// It has a feature that changes the meaning of what is read.
    #[error("the ext4 feature {0} is not supported")]
    Feature(String),
    /// Something is damaged.
    #[error("ext4 is damaged: {0}")]
    Damaged(String),
    /// A checksum does not match.
    #[error("ext4 is damaged: {what} has the checksum {stored:#x}, expected {computed:#x}")]
    Checksum {
        /// What the checksum is of.
        what: String,
        /// The checksum on the medium.
        stored: u32,
        /// That of the bytes on the medium.
        computed: u32,
    },
    /// There is nothing at a path.
    #[error("{0} does not exist")]
    NotFound(String),
    /// A path leads over too many symlinks.
    #[error("{0} leads too far: over more than {max} symlinks", max = MAX_SYMLINKS)]
    TooFar(String),
    /// So much was read to find paths that no more are looked for.
    #[error("{0} is not looked for: {max} bytes of directories were read already", max = MAX_SEARCHED)]
    Exhausted(String),
    /// There is something else at a path.
    #[error("{path} is no {expected}")]
    Kind {
        /// The absolute path, as it was asked for.
        path: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A file is longer than the reader wants.
    #[error("{path} has {len} bytes, expected at most {limit}")]
    TooLong {
        /// The absolute path, as it was asked for.
        path: String,
        /// Its length in bytes.
        len: u64,
        /// The most that the caller takes, in bytes.
        limit: u64,
    },
}
