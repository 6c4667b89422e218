//! Reads FAT16 and FAT32 volumes that anybody may have written.
//!
//! [`open`] first checks the whole volume with bounded time and memory: the boot sector, FSInfo, the chain of every
//! directory and file (in range, used once, as long as the file), every name. `fatfs` sees the volume only after it
//! passed, because that crate panics on some boot sectors, follows loops, and reads damaged chains without a word. Free
//! clusters are not looked at. Strict on purpose: what `fsck.fat` would repair is an error here.

mod boot;
mod cache;
mod check;
mod copies;
mod error;
mod form;
mod free_runs;
mod long_name;
mod volume;

pub use check::FileRef;
pub use copies::differ as copies_differ;
pub use error::{ChainFault, Error};
pub use form::oddities;
pub use volume::{File, Volume, open};
