//! Disks, their partitions, and who uses them, as values.

use super::device_of_file::device_of_file;
use super::mounts::Mounts;
use super::roots::{DeviceNumber, Roots};
use std::path::{Path, PathBuf};

/// How a disk is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// USB, card readers included.
    Usb,
    /// An SD card in a slot of the machine.
    Sd,
    /// Soldered eMMC.
    Emmc,
    /// NVM Express.
    Nvme,
    /// SATA or PATA.
    Ata,
    /// Another SCSI host.
    Scsi,
    /// A virtual machine's disk.
    Virtio,
    /// A file behind a loop device.
    Loop,
    /// A disk in memory.
    Memory,
    /// None of these.
    Other,
}

impl Bus {
    /// The bus in a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usb => "usb",
            Self::Sd => "sd",
            Self::Emmc => "emmc",
            Self::Nvme => "nvme",
            Self::Ata => "ata",
            Self::Scsi => "scsi",
            Self::Virtio => "virtio",
            Self::Loop => "loop",
            Self::Memory => "memory",
            Self::Other => "other",
        }
    }
}

/// A partition as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its kernel name, `sdb1`.
    pub name: String,
    /// Its number in the table.
    pub number: u32,
    /// Where it begins on the disk, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub size: u64,
    /// The label of its file system, where udev knows it.
    pub label: Option<String>,
    /// The type of its file system, where udev knows it.
    pub file_system: Option<String>,
}

/// Who uses a disk, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// A mount.
    Mount {
        /// The device that is mounted: the disk, a partition, a volume on it.
        device: String,
        /// Where.
        at: PathBuf,
    },
    /// Swap space, on a device or in a file on it.
    Swap {
        /// The device or file.
        device: String,
    },
    /// A device made of it: a device-mapper, RAID or bcache device.
    Holder {
        /// The device that is used.
        device: String,
        /// The device made of it.
        holder: String,
        /// Its kind: `crypt`, `lvm`, `raid1`, ...
        kind: &'static str,
    },
    /// A mounted btrfs with several devices.
    Btrfs {
        /// The device that is used.
        device: String,
    },
}

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its kernel name, `sdb`.
    pub name: String,
    /// Its node, `/dev/sdb`.
    pub path: PathBuf,
    /// Its names below `/dev/disk/by-id`.
    pub links: Vec<PathBuf>,
    /// Its number.
    pub number: DeviceNumber,
    /// The manufacturer.
    pub vendor: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
    /// Its length in bytes.
    pub size: u64,
    /// How it is connected.
    pub bus: Bus,
    /// Whether its medium can be taken out: the kernel's flag, or an SD card (whose slots do not set it).
    pub removable: bool,
    /// Whether the kernel refuses writes.
    pub read_only: bool,
    /// The length of a logical sector in bytes.
    pub sector: u32,
    /// Counts up each time a disk appears, so that another disk with the same name is seen to be another.
    pub diskseq: Option<u64>,
    /// The file behind a loop device.
    pub backing: Option<String>,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// Who uses it.
    pub uses: Vec<Use>,
    /// Its number and those of its partitions and of all that is stacked on them.
    pub numbers: Vec<DeviceNumber>,
}

impl Device {
    /// Vendor and model, or whatever names it to a person.
    #[must_use]
    pub fn title(&self) -> String {
        match (&self.vendor, &self.model, &self.backing) {
            (Some(vendor), Some(model), _) if !model.starts_with(vendor.as_str()) => {
                format!("{vendor} {model}")
            }
            (_, Some(model), _) => model.clone(),
            (Some(vendor), None, _) => vendor.clone(),
            (None, None, Some(file)) => format!("loop of {file}"),
            (None, None, None) => format!("{} disk", self.bus.name()),
        }
    }

    /// The mount points on it.
    pub fn mounts(&self) -> impl Iterator<Item = &Path> {
        self.uses.iter().filter_map(|user| match user {
            Use::Mount { at, .. } => Some(at.as_path()),
            _ => None,
        })
    }
}

/// The disks of a system and what is mounted.
pub struct Listing {
    /// The disks, by number.
    pub devices: Vec<Device>,
    pub(crate) mounts: Mounts,
    pub(crate) roots: Roots,
}

impl Listing {
    /// The disks below what holds a file or directory; none for a file system without a disk, such as tmpfs or NFS.
    #[must_use]
    pub fn disks_of(&self, path: &Path) -> Vec<&Device> {
        let by_number = device_of_file(path);
        let mount = std::fs::canonicalize(path).ok().and_then(|path| self.mounts.holding(&path).cloned());
        let holds = |device: &&Device| {
            let on_mount = mount.as_ref().is_some_and(|mount| device.mounts().any(|at| at == mount.at));
            on_mount || by_number.is_some_and(|number| device.numbers.contains(&number))
        };
        self.devices.iter().filter(holds).collect()
    }
}
