//! Why a volume cannot be read.

use std::io;

/// The most files and directories that are read.
pub(crate) const MAX_ENTRIES: usize = 1 << 18;

/// A volume could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The medium failed.
    #[error("cannot read the FAT volume at byte {offset}: {source}")]
    Io {
        /// The first byte that was wanted, from the start.
        offset: u64,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is no FAT volume.
    #[error("not a FAT volume: {field} is {found}, expected {expected}")]
    Boot {
        /// The field of the boot sector.
        field: &'static str,
        /// What it says.
        found: u64,
        /// What it may say.
        expected: &'static str,
    },
    /// The volume is longer than what it is in.
    #[error("the FAT volume says it has {claimed} bytes, there are {found}")]
    Short {
        /// Its length by the boot sector.
        claimed: u64,
        /// The length that there is.
        found: u64,
    },
    /// A chain of clusters is wrong.
    #[error("{path:?}: {fault}")]
    Chain {
        /// Whose; the root is empty.
        path: String,
        /// What is wrong.
        fault: ChainFault,
    },
    /// A directory breaks a rule.
    #[error("{path:?} {message}")]
    Directory {
        /// Which; the root is empty.
        path: String,
        /// The rule that is broken, as the end of a sentence.
        message: &'static str,
    },
    /// There are more files and directories than are read.
    #[error("the FAT volume has more than {MAX_ENTRIES} files and directories")]
    TooMany,
    /// There is no such file.
    #[error("{path:?} is not a file of the FAT volume")]
    NoFile {
        /// The path from the root of the volume.
        path: String,
    },
    /// A file is longer than the caller allows.
    #[error("{path:?} has {len} bytes, expected at most {limit}")]
    TooLong {
        /// The path from the root of the volume.
        path: String,
        /// Its length in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// `fatfs` refuses what passed the check.
    #[error("cannot open {path:?} on the FAT volume: {source}")]
    Reader {
        /// Which file; the volume is empty.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
}

/// What is wrong with a chain of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// It leads out of the volume, or to a free or bad cluster.
    #[error("cluster {0} is no cluster of data")]
    OutOfRange(u32),
    /// Two chains meet, or one meets itself.
    #[error("cluster {0} is used twice")]
    UsedTwice(u32),
    /// It is not as long as the file.
    #[error("its chain does not end after {expected} clusters, which its {len} bytes need")]
    Length {
        /// Clusters that it needs.
        expected: u64,
        /// Its length in bytes.
        len: u64,
    },
}
