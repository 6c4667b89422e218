//! Where store paths are and how they are packed.
//!
//! A store hands out NARs only, whatever it is made of: one path for all contents, each byte checked against its
//! NarHash on the way to the medium, and no metadata of the host (owner, time, attributes, case) can leak.

pub(crate) mod archive;
pub(crate) mod builder_address;
pub mod channel;
mod closure;
mod daemon;
pub(crate) mod daemon_error;
pub(crate) mod directory_nar;
pub(crate) mod error;
pub(crate) mod interface;
pub(crate) mod local;
mod nar_tree;
mod next_store;
pub(crate) mod open;
pub(crate) mod remote;
pub(crate) mod transport;
pub(crate) mod trust;
mod verified_nar;

pub use builder_address::Builder;
pub use closure::{Closure, Member, closure};
pub use nar_tree::{Part, index, unpack};
pub use next_store::replace_damaged;
pub use remote::download_dir::{Usage, prune, usage};
pub use remote::progress::{Fetched, Remote};
pub use transport::{Line, Ssh};
pub use trust::keys::{BadKey, Judged, Keys};
pub use verified_nar::{FileHeader, Payload};

pub use directory_nar::{directory_listing, hash_directory, open_directory_nar};
pub use error::Error;
pub use interface::{PathInfo, Store};
pub use open::open;
