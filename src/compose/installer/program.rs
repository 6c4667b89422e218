//! Programs that install a boot loader, and the flags they are given.

use super::systemd_boot::SystemdBoot;

/// What installs the boot loader of a system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installer {
    /// NixOS's builder for U-Boot, once for each directory that it keeps.
    Extlinux(Vec<Extlinux>),
    /// NixOS's builder for systemd-boot.
    SystemdBoot(Box<SystemdBoot>),
    /// The builder of nixos-raspberrypi that keeps kernels of generations beside the firmware.
    RaspberryPi(RaspberryPi),
    /// Any other, by its name.
    Other(String),
    /// None: the system does not look after a boot loader.
    None,
}

/// Flags of `extlinux-conf-builder.sh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extlinux {
    /// `-g`: how many generations the menu has, besides the default.
    pub generations: u32,
    /// `-t`: seconds that the menu waits; below 0 for ever, 0 for no menu.
    pub timeout: i64,
    /// `-n`: the device tree by its name in `dtbs`.
    pub device_tree: Option<String>,
    /// `-r`: the firmware's device tree is used.
    pub no_device_tree: bool,
    /// `-d`: the directory.
    pub directory: String,
}

impl Default for Extlinux {
    /// What NixOS has without a word.
    fn default() -> Self {
        Self {
            generations: 20,
            timeout: 5,
            device_tree: None,
            no_device_tree: false,
            directory: "/boot".to_owned(),
        }
    }
}

/// Flags of nixos-raspberrypi's `nixos-generations-builder.sh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaspberryPi {
    /// `-g`: how many generations it keeps, besides the default.
    pub generations: u32,
    /// `-f`: where it expects the FAT.
    pub firmware: String,
    /// The directory of generations on the FAT.
    pub directory: String,
    /// Whose device trees go beside a kernel.
    pub device_trees: DeviceTrees,
}

/// Whose device trees the builder of nixos-raspberrypi puts beside a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceTrees {
    /// Those of the kernel: the `dtbs` of the system.
    #[default]
    Kernel,
    /// `-r`: those of the firmware, in this directory.
    Firmware(String),
}

impl Default for RaspberryPi {
    fn default() -> Self {
        Self {
            generations: 4,
            firmware: "/boot/firmware".to_owned(),
            directory: "nixos".to_owned(),
            device_trees: DeviceTrees::Kernel,
        }
    }
}
