//! Containers of disks, as virtual machines use them: what is stored of a disk, and where in a file.
//!
//! A folder for each format has its table of fields, its writer and its reader. Writers are given which blocks are
//! stored ([`Stored`]) before any byte of them, as an image's plan knows it: all tables are then known, and a container
//! can be written in order. Readers give what is inside as something that can be read at any place ([`Disk`]).

mod blocks;
mod disk;
mod error;
mod guid;
mod head;
mod kind;
mod open;
mod pages;
mod sniff;
mod stored;
mod unpack;

pub mod qcow2;
pub mod vdi;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;

pub use disk::{Disk, Run};
pub use error::Error;
pub use head::{Head, Part};
pub use kind::Kind;
pub use open::open;
pub use sniff::{MAGIC_LEN, sniff, sniff_end};
pub use stored::Stored;
