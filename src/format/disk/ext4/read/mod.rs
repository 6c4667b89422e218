//! ext4, read: bounded, checked, never trusted.
//!
//! Reads what nixflash and mke2fs make: extents and old block maps, 32- and 64-bit descriptors, flex_bg, meta_bg,
//! checksums. Every number is checked against the real size of the device before it is used; a checksum that does not
//! match is an error; what is not understood is named. Nothing is allocated in proportion to a number that was read,
//! but in proportion to what was read. A journal that needs recovery is reported: what [`Ext4::open`] gives is the state
//! before its replay, what [`Ext4::open_replayed`] gives the one after it.

mod directory;
mod error;
mod extents;
mod file;
mod file_system;
mod form;
mod groups;
mod inode;
mod journal;
mod path;
mod replayed;
mod superblock;
mod walk;

pub use directory::{Entries, Entry};
pub use error::Error;
pub use file::Contents;
pub use file_system::Ext4;
pub use groups::Groups;
pub use inode::{Inode, Kind};
pub use replayed::Replayed;
pub use superblock::Superblock;
pub use walk::{Found, Walk};
