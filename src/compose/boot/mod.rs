//! The files that a boot loader reads, with the names and contents that the running system's own
//! `nixos-rebuild` writes, so that it replaces rather than doubles them.

pub mod direct;
pub mod extlinux;
pub mod raspberrypi;
pub mod systemd_boot;
pub(crate) mod world;
