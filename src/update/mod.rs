//! Replaces the boot files of a card that is in use by its owner, so that it boots at every moment: the old ones, or
//! all of the new ones.
//!
//! A FAT cannot change many files at once, but one sector of the partition table can. So a second, small volume with
//! all that the first one is to hold is made in its free clusters, and then:
//!
//! ```text
//! start      table -> old volume      [ old files .............. | free           ]
//! 1 write    table -> old volume      [ old files .............. | second volume  ]   flushed, read back
//! 2 switch   table -> second volume   one sector
//! 3 write    table -> second volume   [ new volume ............. | second volume  ]   flushed, read back
//! 4 switch   table -> new volume      the sector as it was at the start
//! ```
//! Each volume that the table points to is whole whenever it does, and nothing that it uses is written. A card that is
//! pulled between 2 and 4 boots the new files from the second volume, which says where the first one was: the next
//! run goes on with 3.

pub(crate) mod change;
mod changes;
pub(crate) mod content;
pub(crate) mod error;
pub(crate) mod fat_types;
pub(crate) mod home;
mod moving;
mod place;
pub(crate) mod plan;
pub(crate) mod request;
mod volume;

pub use change::{Change, ChangeKind, ConfigChange};
pub use moving::Report;

pub use content::Content;
pub use error::{Error, Left};
pub use plan::{Plan, plan};
pub use request::{Config, Wanted};
