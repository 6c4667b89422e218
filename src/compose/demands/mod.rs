//! The contract: what a system's own words demand of a card, held against what a board can give.
//!
//! A system says in `etc/fstab`, in its kernel parameters, in its initrd and in the flags of its boot loader's builder
//! how the card it runs from must look. All of it is read, and everything that cannot be met is found, not only the
//! first: each finding names the file and the line.

mod claims;
pub(crate) mod contract;
mod demand;
mod devices;
mod drivers;
mod finding;
mod loader;
pub(crate) mod loading;
mod mounts;
mod store_place;

pub use demand::{Demand, disk_id_of, volume_id};
pub use finding::{Finding, Origin, Verdict};
pub use loading::Loading;
pub use mounts::Place;

pub use contract::Contract;
