//! Partition tables, MBR and GPT.
//!
//! Written by hand: the bytes must be the same each time, with CHS values as sfdisk writes them. Read by hand too,
//! because every number has to be checked before a crate may see it (`gpt` 4.1 asserts the size of entries and takes
//! overlapping and reversed partitions, `mbrman` 0.6 adds without checking), and then nothing is left to do. Both
//! crates judge in tests. Source: UEFI Specification 2.10, chapter 5.

mod disk;
mod encode;
mod error;
mod gpt;
mod gpt_header;
mod grow;
mod mbr;
mod mbr_sector;
mod place;
mod problem;
mod read;
mod relocate;
mod table;

pub use disk::ReadError;
pub use encode::encode;
pub use error::Error;
pub use grow::{Grown, grow, hindrance};
pub use problem::{GptCopy, HeaderFault, Problem};
pub use read::{Reading, Span, read, read_with};
pub use relocate::{Relocated, relocate};
pub use table::{Gpt, GptPartition, Mbr, MbrPartition, SectorSize, Table};
