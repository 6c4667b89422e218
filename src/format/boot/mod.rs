//! What boot loaders and initrds read.

pub mod bootspec;
pub mod cpio;
pub mod extlinux;
pub mod fstab;
pub mod systemd_boot;
