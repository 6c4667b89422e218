//! Store paths on this machine, and what its Nix has registered of them.

pub(crate) mod database;
pub(crate) mod directory;
pub(crate) mod registered;
