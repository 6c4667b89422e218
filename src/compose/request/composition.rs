//! What is to be composed.

use super::channels::Channels;
use super::configuration::Configuration;
use super::given::Given;
use crate::board::Board;
use crate::format::file::minisign::SecretKey;
use crate::format::nix::store_path::StorePath;
use crate::store::Store;
use std::sync::Arc;

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
