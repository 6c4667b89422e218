//! The operating system's disks: which there are, whether one may be written, and the order in which one is written.
//!
//! Nothing here runs a program. Listing reads sysfs below a [`Roots`]; the guard is a pure function; the writer knows
//! disks only as [`Disk`], so that tests can take any of them apart.

pub mod buffer;
pub mod disk;
pub(crate) mod error;
mod file_target;
pub(crate) mod guard;
pub(crate) mod progress;
pub(crate) mod read_back;
pub(crate) mod sys;
#[cfg(test)]
#[expect(missing_docs, clippy::new_without_default, clippy::too_many_arguments, reason = "for tests only")]
pub mod testing;
pub mod write;

pub use disk::{Disk, Medium};
pub use error::Error;
pub use file_target::{Existing, Look, OpenFile, look, open_file, open_file_in_place, open_to_read};
pub use guard::facts::{Wanted, gather};
pub use guard::policy::{Answer, Facts, Fixed, LARGE, Mounted, Policy, judge};
pub use guard::signatures::{Member, member};
pub use guard::summary_line::describe;
pub use guard::verdict::{Proof, Reason, Refusal, Verdict};
pub use progress::{Meter, Phase};
pub use read_back::differences::{Bad, Differences};
pub use read_back::reader::Reader;
pub use sys::linux::disks::{Bus, Device, Listing, Partition, Use};
pub use sys::linux::list::list;
pub use sys::linux::open::{Access, Changed, OpenDisk, OpenError, open_disk, open_disk_unless};
pub use sys::linux::resolve::{Named, is_below_dev, resolve};
pub use sys::linux::roots::{DeviceNumber, Roots};
pub use sys::linux::unmount::{UnmountError, eject, unmount};
pub use write::fault::{Error as WriteError, Fault, Left};
