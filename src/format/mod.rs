//! On-disk and wire layouts: bytes to values and back. Nothing here opens a file.

pub mod boot;
pub mod disk;
pub mod file;
pub mod nix;
