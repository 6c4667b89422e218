//! What can be learnt from an image or a card, without writing to it.
//!
//! Everything is optional: what is damaged becomes a line under `problems`, and the rest is still shown. Nothing that
//! is read is trusted, and nothing makes the work or the memory endless; see the readers below [`crate::format`].

mod boot;
mod extract;
mod nixos;
mod report;
mod text;
pub(crate) mod tour;
mod types;
mod volume;

pub use extract::{Item, Taker, extract};
pub use nixos::configuration;
pub use report::{
    BootEntry, FileSystem, Generation, Input, Loader, Nixos, Partition, Report, SCHEMA, State, TableKind,
};

pub use volume::Machine;

pub use tour::{inspect, inspect_machine};
