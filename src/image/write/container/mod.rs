//! Images as containers of virtual machines.
//!
//! All but one are written in order, into any other sink. A packed qcow2 has its header last and needs a file.

mod blocks;
mod disk;
mod gather;
mod make;
mod ordered;
mod packer;
mod placed;
mod qcow2;
mod vhd;
mod vmdk;

pub use disk::{Disk, Form};
pub use make::{into_file, into_sink, places};
