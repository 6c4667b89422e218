//! The operating system's disks: which there are, whether one may be written, and the order in which one is written.
//!
//! Nothing here runs a program. Listing reads sysfs below a [`Roots`]; the guard is a pure function; the writer knows
//! disks only as [`Disk`], so that tests can take any of them apart.

pub mod block;
pub mod buffer;
mod contents;
mod detach;
mod differences;
pub mod disk;
mod fault;
mod gather;
mod guard;
mod list;
pub mod marker;
mod member;
mod meter;
mod mounts;
mod open;
mod reader;
mod regular;
mod resolve;
mod roots;
pub mod scan;
#[cfg(test)]
#[expect(missing_docs, clippy::new_without_default, clippy::too_many_arguments, reason = "for tests only")]
pub mod testing;
mod udisks;
pub mod write;

pub use contents::describe;
pub use detach::{UnmountError, eject, unmount};
pub use differences::{Bad, Differences};
pub use disk::{Disk, Medium};
pub use fault::{Error as WriteError, Fault, Left};
pub use gather::{Wanted, gather};
pub use guard::{Answer, Facts, Fixed, LARGE, Mounted, Policy, Proof, Reason, Refusal, Verdict, judge};
pub use list::{Bus, Device, Listing, Partition, Use, list};
pub use member::{Member, member};
pub use meter::{Meter, Phase};
pub use open::{Access, Changed, OpenDisk, OpenError, open_disk};
pub use reader::Reader;
pub use regular::{Existing, Look, OpenFile, look, open_file, open_file_in_place, open_to_read};
pub use resolve::{Named, is_below_dev, resolve};
pub use roots::{DeviceNumber, Roots};

use std::io;

/// The system's view of its devices cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Disks cannot be listed.
    #[error("cannot list disks")]
    List(#[source] blockdev::BlockDevError),
    /// Mounts cannot be listed; without them no disk is safe.
    #[error("cannot tell what is mounted")]
    Mounts(#[source] io::Error),
    /// A target cannot be looked at.
    #[error("cannot look at {path}")]
    Path {
        /// The target.
        path: String,
        /// Why.
        source: io::Error,
    },
}
