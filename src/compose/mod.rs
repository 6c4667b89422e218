//! What NixOS and its boot loaders expect to find on a disk.
//!
//! [`compose`] takes a board, a closure and options, and decides everything: which files lie where, which
//! identifiers they carry, how long the image is. The [`Plan`] that comes out can be printed, compared and refused;
//! [`Plan::source`] and [`Plan::write_raw`] then move the bytes.

mod boot;
mod boot_only;
mod closure;
pub(crate) mod content;
pub(crate) mod decide;
mod demands;
mod dry_check;
pub(crate) mod error;
mod find;
pub(crate) mod firmware;
mod installer;
pub(crate) mod literals;
pub(crate) mod missing;
pub(crate) mod plan;
pub(crate) mod request;
pub(crate) mod resolved;
pub(crate) mod root;
pub(crate) mod system;
mod write;

pub use boot_only::{BootRequest, BootSet, boot_set};
pub use content::Content;
pub use demands::{Finding, Origin, Verdict};
pub use dry_check::{Check, Report};
pub use error::Error;
pub use find::Found;
pub use missing::Missing;
pub use plan::image::Plan;
pub use plan::summary::Summary;
pub use request::channels::{Channels, Pin};
pub use request::composition::{Embed, Record, Request, RootSize, Signing};
pub use request::configuration;
pub use request::given::Given;
pub use system::secrets;
pub use write::MoveError;

/// Holds a system against a board. Reads what names it, and its initrd.
pub fn check(check: Check) -> Result<Report, Error> {
    dry_check::check(check)
}

/// Decides all of an image. Reads what names and sizes need, no more.
pub fn compose(request: Request) -> Result<Plan, Error> {
    find(request)?.plan()
}

/// Finds the closure of an image, and begins to fetch what is far away.
pub fn find(request: Request) -> Result<Found, Error> {
    Found::of(request)
}
