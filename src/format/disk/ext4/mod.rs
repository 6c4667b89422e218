//! ext4: one table of what lies where on the disk, and those who write it, read it and change it.

pub mod change;
pub(crate) mod free_blocks;
pub mod ondisk;
pub mod read;
pub mod write;

pub use write::{Error, Ext4, Front, Label, Lent, Options, Purpose, Size, Summary, plan, plan_with};
