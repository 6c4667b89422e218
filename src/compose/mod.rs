//! What NixOS and its boot loaders expect to find on a disk.
//!
//! [`compose`] takes a board, a closure and options, and decides everything: which files lie where, which
//! identifiers they carry, how long the image is. The [`Plan`] that comes out can be printed, compared and refused;
//! [`Plan::source`] and [`Plan::write_raw`] then move the bytes.

mod assembly;
mod boot;
mod boot_files;
mod boot_set;
mod carried;
mod channel;
mod check;
pub mod configuration;
mod contract;
mod files;
mod firmware;
mod forest;
mod found;
mod identifiers;
mod identity;
mod initrd;
mod installer;
mod landing;
mod locate;
mod moving;
mod plan;
mod provenance;
mod raw;
mod rootfs;
pub mod secrets;
mod summary;
mod text;
mod toplevel;

pub use boot_set::{BootRequest, BootSet, boot_set};
pub use channel::{Channels, Pin};
pub use check::{Check, Report};
pub use contract::{Finding, Origin, Verdict};
pub use firmware::{Given, Missing};
pub use found::Found;
pub use moving::MoveError;
pub use plan::Plan;
pub use summary::Summary;

use crate::board::Board;
use crate::format::file::minisign::SecretKey;
use crate::format::nix::store_path::StorePath;
use crate::store::Store;
use configuration::Configuration;
use std::sync::Arc;

/// Where the bytes of a planned file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The `file`th regular file, in NAR order from 0, of a store path or a package.
    Packed {
        /// Index into [`Plan`]'s sources.
        source: u32,
        /// Which of its files.
        file: u32,
    },
    /// Bytes that nixflash made.
    Literal(u32),
}

/// How much room the root gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootSize {
    /// As small as it can be with this many bytes free for files.
    Free(u64),
    /// The whole image has exactly this many bytes.
    Image(u64),
    /// A card of exactly this many bytes: what the kernel initialises by itself is neither written nor verified.
    Card(u64),
}

/// What to compose.
pub struct Request {
    /// The board.
    pub board: Board,
    /// The toplevel.
    pub system: StorePath,
    /// Systems that were there before it, the oldest first: earlier generations of the profile.
    pub older: Vec<StorePath>,
    /// Stores, asked in this order.
    pub stores: Vec<Box<dyn Store>>,
    /// Where firmware packages are, asked in this order before the closure.
    pub firmware: Vec<Given>,
    /// A channel to take them from otherwise.
    pub channels: Option<Channels>,
    /// How large the root is.
    pub root_size: RootSize,
    /// Length of the FAT that takes boot files, in bytes; that of the profile when `None`.
    pub boot_size: Option<u64>,
    /// Free inodes on the root.
    pub free_inodes: u32,
    /// A word that identifiers also derive from, so that cards of one system differ.
    pub id_seed: Option<String>,
    /// The time that files of nixflash's own making carry, seconds since 1970.
    pub epoch: u32,
    /// What the card is to say of itself beyond what it is made of.
    pub record: Record,
}

/// What a card says of itself beyond what it is made of.
#[derive(Clone, Default)]
pub struct Record {
    /// The text of the board's profile, where it is not built in.
    pub profile: Option<String>,
    /// What the user adds to the board's `config.txt`.
    pub config_txt: Option<String>,
    /// The stores that were asked, without credentials, where the user wants them recorded: the bits of the image then
    /// depend on them.
    pub stores: Option<Vec<String>>,
    /// The configuration to embed.
    pub configuration: Embed,
    /// Who signs the manifest.
    pub signing: Option<Signing>,
}

/// Which configuration goes onto the card.
#[derive(Clone, Default)]
pub enum Embed {
    /// None.
    #[default]
    Nothing,
    /// What the system carries in its closure, unless it holds secrets.
    Carried,
    /// This one. Its secrets are the caller's to look for.
    This(Configuration),
}

/// A signature of the manifest.
#[derive(Clone)]
pub enum Signing {
    /// Made by this key.
    By(Arc<SecretKey>),
    /// Made before: the contents of a `.minisig` file, to compose a card again without its key.
    As(String),
}

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

/// Holds a system against a board. Reads what names it, and its initrd.
pub fn check(check: Check) -> Result<Report, Error> {
    check::check(check)
}

/// Decides all of an image. Reads what names and sizes need, no more.
pub fn compose(request: Request) -> Result<Plan, Error> {
    find(request)?.plan()
}

/// Finds the closure of an image, and begins to fetch what is far away.
pub fn find(request: Request) -> Result<Found, Error> {
    Found::of(request)
}
