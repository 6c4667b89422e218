//! A channel to take firmware from, and what is pinned of it.

use crate::format::nix::store_path::StorePath;
use crate::store::channel::Channel;

/// What a package of a board is, once it was found in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The board.
    pub board: String,
    /// The package's key in the profile.
    pub package: String,
    /// The path and the hash of its NAR; `None` where the channel has no such package and the board boots without it.
    pub found: Option<(StorePath, [u8; 32])>,
    /// The channel's address.
    pub channel: String,
    /// The SHA-256 of the listing that it was found in.
    pub listing: [u8; 32],
    /// The cache that has it, beside the stores.
    pub cache: String,
}

/// A channel to take firmware from, and what is pinned already.
pub struct Channels {
    /// The channel.
    pub channel: Channel,
    /// What is pinned of it.
    pub pins: Vec<Pin>,
}
