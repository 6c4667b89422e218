//! What is written for the boot loader.

use super::mounts::Place;
use crate::board::Loader;
use crate::compose::installer::Extlinux;
use crate::compose::installer::RaspberryPi;
use crate::compose::installer::SystemdBoot;

/// What is written for the boot loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loading {
    /// `extlinux.conf` and kernels, once for each place.
    Extlinux(Vec<(Extlinux, Place)>),
    /// systemd-boot, its entries and kernels, on the EFI system partition.
    SystemdBoot(Box<SystemdBoot>),
    /// Kernels that the firmware of a Raspberry Pi starts, on its FAT.
    RaspberryPi(RaspberryPi),
}

impl Loading {
    /// What NixOS writes without a word.
    pub fn default_of(loader: Loader) -> Self {
        match loader {
            Loader::Extlinux => Self::Extlinux(vec![(Extlinux::default(), Place::Root("/boot".to_owned()))]),
            Loader::SystemdBoot => Self::SystemdBoot(Box::default()),
            Loader::RaspberryPi => Self::RaspberryPi(RaspberryPi::default()),
        }
    }

    /// Whether U-Boot finds its files on the FAT rather than on the ext4.
    pub fn is_on_fat(&self) -> bool {
        matches!(self, Self::Extlinux(builders) if builders.iter().all(|(_, place)| matches!(place, Place::Boot(_))))
    }
}
