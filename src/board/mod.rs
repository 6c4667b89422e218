//! Boards are data: the profile file's syntax and what it must satisfy.
//!
//! A profile is TOML. Sizes have their unit written out; an unknown key, a word outside its set, or partitions that
//! overlap are errors that name the file, the line and the key. `boards/` holds those built in; a file of the user's
//! takes the same path.

mod built_in;
pub(crate) mod description;
pub(crate) mod error;
mod glob;
mod key;
pub(crate) mod parse;
mod profile;
mod rules;

pub use built_in::{all, find};
pub use glob::matches;

pub use description::{
    Board, FileRule, Loader, Medium, Package, Partition, PartitionType, Raw, Role, TableKind,
};
pub use error::Error;
pub use parse::parse;
