//! The order of a safe write, as types: what may be done next is what the type offers.
//!
//! ```text
//! begin    [Card] first and last MiB become markers, pages in between are probed, all flushed and read back
//!   -> Writing    parts are written, the first and the last MiB kept in memory
//!   -> Flushed    one flush; if it fails it is final, for a second one would say yes
//!   -> Verified   every range read back from the medium, the markers too
//!   -> Report     last MiB with the moved backup of the GPT; the first MiB without its first page; that page
//! ```
//! The markers stay until all is verified. If the end of the disk is really another place of it (a fake card), either
//! the data have overwritten the markers there, which the verification sees, or the last MiB overwrites nothing.
//! Whatever fails, the markers are written again: no prefix of these writes is a disk that looks bootable.

pub(crate) mod fault;
mod finish;
pub mod marker;
pub(crate) mod options;
pub(crate) mod page;
pub(crate) mod phases;
pub(crate) mod report;
mod session;

pub use options::{Check, Options, Rewrite};
pub use phases::{Flushed, Verified, Writing, begin};
pub use report::{Growth, Report, Verification};

#[cfg(test)]
mod bench_tests;
#[cfg(test)]
mod tests;
