//! Formats of single files that belong to no disk, no loader and not to Nix.

pub mod bmap;
pub mod date;
pub mod incus;
pub mod json;
pub mod minisign;
pub mod sums;
