//! ext4, written as a plan of extents.
//!
//! [`plan`] turns a tree and options into an [`Ext4`]: every block has its place before any content is read, and each
//! piece of metadata is rendered when it is asked for. The feature set is what every reader of a NixOS card
//! understands, U-Boot of 2016 and EDK2 among them: no `64bit`, `metadata_csum_seed`, `orphan_file`, `inline_data`;
//! and `resize_inode`, without which the kernel's growth turns the file system into `meta_bg`.

mod allocate;
mod directory;
pub(crate) mod encode;
mod extents;
mod front;
mod geometry;
mod inode;
mod list;
mod namespace;
pub(crate) mod options;
mod plan;

pub use front::Front;
pub use namespace::Lent;
pub use options::{Error, Label, Options, Purpose, Size, Summary};
pub use plan::{Ext4, plan, plan_with};
