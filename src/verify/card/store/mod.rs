//! The store of a card, its database, and the systems that its profile names.

mod check;
mod nar;
pub(crate) mod profile;
pub(crate) mod registry;
pub(crate) mod systems;

pub use check::check;
