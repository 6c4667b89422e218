//! Why a system cannot be composed.

use super::missing::Missing;
use super::request::configuration;

/// A system cannot be composed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A store has not what it should have, or it is damaged.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The toplevel is not one, or lacks something.
    #[error("{path}: {message}")]
    Toplevel {
        /// The toplevel or a file in it.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// The board cannot give what the system asks for.
    #[error("{system} cannot run on {board}: {message}")]
    Demand {
        /// The name of the toplevel.
        system: String,
        /// The name of the board.
        board: String,
        /// What is asked for and where.
        message: String,
    },
    /// Firmware is not there.
    #[error(transparent)]
    Firmware(#[from] Missing),
    /// A boot loader outside of partitions is longer than the place that the profile gives it.
    #[error("{path} has {len} bytes, the place of {board} for it has {max}")]
    Raw {
        /// The board.
        board: String,
        /// The file.
        path: String,
        /// Its length in bytes.
        len: u64,
        /// The most it may have.
        max: u64,
    },
    /// Firmware cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file or directory.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The root file system cannot be planned.
    #[error("root file system: {0}")]
    Ext4(#[from] crate::format::disk::ext4::Error),
    /// The FAT cannot be planned.
    #[error("boot file system: {0}")]
    Fat(#[from] crate::format::disk::fat::Error),
    /// The partition table cannot be made.
    #[error("partition table: {0}")]
    Table(#[from] crate::format::disk::partition_table::Error),
    /// The registration database cannot be made.
    #[error("store database: {0}")]
    Database(#[from] crate::format::nix::database::Error),
    /// The configuration cannot be embedded.
    #[error(transparent)]
    Configuration(#[from] configuration::Refused),
    /// A path occurs twice on the card.
    #[error("{0} would be on the card twice")]
    Twice(String),
    /// The image is too small for its first partitions.
    #[error("an image of {given} bytes has no room for the root, which begins at {start}")]
    NoRoot {
        /// Length asked for, in bytes.
        given: u64,
        /// Where the root begins, in bytes.
        start: u64,
    },
    /// More than a plan can number.
    #[error("{0} has more files than an image can hold")]
    TooMany(String),
}
