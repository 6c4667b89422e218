//! The program that a system installs its boot loader with, and the flags it gives it.
//!
//! A toplevel names it in `bin/switch-to-configuration`: as `INSTALL_BOOTLOADER` of a wrapper, or within an older
//! Perl script. Nothing of it is run; its text is read for what nixflash has to write in its place.

mod program;
mod read;
mod systemd_boot;

pub use program::{DeviceTrees, Extlinux, Installer, RaspberryPi};
pub use read::{LANZABOOTE, read};
pub use systemd_boot::{Naming, SystemdBoot};
