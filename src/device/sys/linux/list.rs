//! What disks there are, from sysfs.
//!
//! The `blockdev` crate walks the tree (disks, partitions, what is stacked on them) and reads udev's database; it runs
//! no program. What it does not know is read here: bus, vendor, sector size, `diskseq`, links, where partitions begin,
//! and, because a guard must not miss one, mounts and swap.

use super::loops;
use super::loops::{Backing, Loop};
use super::mounts::Mounts;
use super::roots::{DeviceNumber, Roots, attribute, number};
use crate::device::error::Error;
use blockdev::BlockDevice;
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
        let by_number = super::resolve::device_of_file(path);
        let mount = std::fs::canonicalize(path).ok().and_then(|path| self.mounts.holding(&path).cloned());
        let holds = |device: &&Device| {
            let on_mount = mount.as_ref().is_some_and(|mount| device.mounts().any(|at| at == mount.at));
            on_mount || by_number.is_some_and(|number| device.numbers.contains(&number))
        };
        self.devices.iter().filter(holds).collect()
    }
}

/// Lists all disks, those that may never be written among them.
pub fn list(roots: &Roots) -> Result<Listing, Error> {
    let tree = blockdev::get_devices_at(roots.root()).map_err(Error::List)?;
    let mounts = Mounts::read(roots).map_err(Error::Mounts)?;
    let mut devices: Vec<Device> = tree.iter().filter_map(|disk| device(roots, &mounts, disk)).collect();
    stack_loops(roots, &mut devices);
    Ok(Listing { devices, mounts, roots: roots.clone() })
}

/// Loops may lie on loops; the kernel allows no more than a few.
const MOST_LOOPS: usize = 8;

/// A loop device over a disk or a partition uses it, and so does whatever uses the loop: the kernel says so nowhere but
/// in the path of the loop's file, and its exclusive open does not know of it either.
fn stack_loops(roots: &Roots, devices: &mut [Device]) {
    for _ in 0..MOST_LOOPS {
        let mut found = Vec::new();
        for upper in devices.iter().filter(|device| device.bus == Bus::Loop) {
            let Some(own) = loops::of(roots, upper.name.clone()) else { continue };
            let lower = devices
                .iter()
                .enumerate()
                .filter(|(_, lower)| lower.number != upper.number && lies_on(roots, &own, lower));
            let lower: Vec<usize> = lower.map(|(at, _)| at).collect();
            let holder = |device: &str| Use::Holder {
                device: device.to_owned(),
                holder: upper.name.clone(),
                kind: "loop",
            };
            let uses = |device: &str| {
                std::iter::once(holder(device)).chain(upper.uses.iter().cloned()).collect::<Vec<_>>()
            };
            found.extend(lower.into_iter().map(|at| (at, uses(&devices[at].name))));
        }
        let mut changed = false;
        for (at, uses) in found {
            for user in uses {
                if !devices[at].uses.contains(&user) {
                    devices[at].uses.push(user);
                    changed = true;
                }
            }
        }
        if !changed {
            return;
        }
    }
}

/// Whether a loop lies on a disk or a part of it, or may where nobody can say what it lies on.
fn lies_on(roots: &Roots, upper: &Loop, device: &Device) -> bool {
    let named = |name: &Path| upper.path() == name;
    // What is named is taken for used whatever lies there now: too careful is right here.
    if named(&device.path) || device.partitions.iter().any(|part| named(&Path::new("/dev").join(&part.name)))
    {
        return true;
    }
    match upper.backing(roots) {
        Backing::Device(number) => device.numbers.contains(&DeviceNumber::of_stat(number)),
        Backing::File(..) => false,
        Backing::Gone => {
            let lens = std::iter::once(device.size).chain(device.partitions.iter().map(|part| part.size));
            lens.into_iter().any(|len| len > 0 && upper.fits(len))
        }
    }
}

fn device(roots: &Roots, mounts: &Mounts, disk: &BlockDevice) -> Option<Device> {
    // sysfs writes `!` where a name has a slash.
    let name = disk.name.replace('/', "!");
    let directory = roots.block(&name);
    let backing = attribute(&directory.join("loop/backing_file"));
    if name.starts_with("loop") && backing.is_none() {
        return None;
    }
    let real = std::fs::canonicalize(&directory).unwrap_or_else(|_| directory.clone());
    let bus = bus(&name, &real);
    let usb = (bus == Bus::Usb).then(|| usb_device(&real)).flatten();
    let serial = disk.serial.clone().or_else(|| attribute(&usb.as_ref()?.join("serial")));
    let path = Path::new("/dev").join(&disk.name);
    Some(Device {
        links: links(roots, &disk.name),
        number: of(disk),
        vendor: attribute(&directory.join("device/vendor")).filter(|vendor| !vendor.starts_with("0x")),
        // An SD card says its model as `name`.
        model: disk.model.clone().or_else(|| attribute(&directory.join("device/name"))),
        serial,
        size: disk.size,
        bus,
        removable: disk.rm || bus == Bus::Sd,
        read_only: disk.ro,
        sector: number(&directory.join("queue/logical_block_size"))
            .and_then(|bytes| u32::try_from(bytes).ok())
            .unwrap_or(512),
        diskseq: number(&directory.join("diskseq")),
        backing,
        partitions: disk.children.iter().filter_map(|child| partition(&directory, child)).collect(),
        uses: uses(roots, mounts, disk),
        numbers: disk.descendants().map(of).collect(),
        name,
        path,
    })
}

fn of(device: &BlockDevice) -> DeviceNumber {
    DeviceNumber { major: device.maj_min.major, minor: device.maj_min.minor }
}

fn partition(disk: &Path, child: &BlockDevice) -> Option<Partition> {
    if !child.is_partition() {
        return None;
    }
    let directory = disk.join(&child.name);
    // sysfs counts in units of 512 bytes whatever the sector size (Documentation/ABI/stable/sysfs-block).
    let start = number(&directory.join("start")).and_then(|start| start.checked_mul(512))?;
    let digits = child.name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let last = child.name.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or(digits);
    Some(Partition {
        name: child.name.clone(),
        number: number(&directory.join("partition"))
            .and_then(|number| u32::try_from(number).ok())
            .or_else(|| last.parse().ok())?,
        start,
        size: child.size,
        label: child.label.clone(),
        file_system: child.fstype.clone(),
    })
}

/// Who uses a disk, its partitions, and what is stacked on them.
fn uses(roots: &Roots, mounts: &Mounts, disk: &BlockDevice) -> Vec<Use> {
    let mut found = Vec::new();
    for device in disk.descendants() {
        let name = device.name.clone();
        let paths = [Path::new("/dev").join(&name), Path::new("/dev/mapper").join(&name)];
        let at = mounts.of_device(of(device), &name, &paths);
        if at.is_empty() && mounts.is_in_btrfs(&name) {
            found.push(Use::Btrfs { device: name.clone() });
        }
        let is_own = |swap: &&PathBuf| {
            // A swap file lies on a mount; a device is named by any of its paths.
            let real = std::fs::canonicalize(roots.place(swap));
            let real_name = real.ok().and_then(|path| Some(path.file_name()?.to_owned()));
            paths.contains(swap)
                || real_name.is_some_and(|real| super::mounts::is_below(swap, "/dev") && real == *name)
                || (!super::mounts::is_below(swap, "/dev")
                    && mounts.holding(swap).is_some_and(|mount| at.contains(&mount.at)))
        };
        let swaps: Vec<_> = mounts.swaps.iter().filter(is_own).collect();
        found.extend(at.into_iter().map(|at| Use::Mount { device: name.clone(), at }));
        found.extend(swaps.into_iter().map(|swap| Use::Swap { device: swap.display().to_string() }));
        let holders = device.children.iter().filter(|child| !child.is_partition());
        found.extend(holders.map(|holder| Use::Holder {
            device: name.clone(),
            holder: holder.name.clone(),
            kind: holder.device_type.as_str(),
        }));
    }
    found
}

/// Reads the bus off the path of a disk below `/sys/devices`.
fn bus(name: &str, real: &Path) -> Bus {
    if name.starts_with("loop") {
        return Bus::Loop;
    }
    if ["zram", "ram", "pmem"].iter().any(|prefix| name.starts_with(prefix)) {
        return Bus::Memory;
    }
    if name.starts_with("mmcblk") {
        // A slot of the machine: "SD", or "MMC" for what is soldered (drivers/mmc/core/bus.c).
        let kind = attribute(&real.join("device/type"));
        return if kind.as_deref() == Some("SD") { Bus::Sd } else { Bus::Emmc };
    }
    let has = |prefix: &str| {
        let is_numbered = |part: &str| {
            part.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        real.iter().any(|part| part.to_str().is_some_and(is_numbered))
    };
    [
        ("usb", Bus::Usb),
        ("nvme", Bus::Nvme),
        ("ata", Bus::Ata),
        // Before scsi: virtio-scsi has both, and the serial of a SCSI disk.
        ("target", Bus::Scsi),
        ("virtio", Bus::Virtio),
    ]
    .into_iter()
    .find_map(|(prefix, bus)| has(prefix).then_some(bus))
    .unwrap_or(Bus::Other)
}

/// The directory of the USB device that a disk belongs to.
fn usb_device(real: &Path) -> Option<PathBuf> {
    real.ancestors().find(|directory| directory.join("idVendor").exists()).map(Path::to_path_buf)
}

fn links(roots: &Roots, name: &str) -> Vec<PathBuf> {
    let directory = Path::new("/dev/disk/by-id");
    let Ok(entries) = std::fs::read_dir(roots.place(directory)) else { return Vec::new() };
    let points_here = |path: PathBuf| {
        std::fs::read_link(path).is_ok_and(|target| target.file_name().is_some_and(|file| file == name))
    };
    let entries = entries.flatten().filter(|entry| points_here(entry.path()));
    let mut found: Vec<_> = entries.map(|entry| directory.join(entry.file_name())).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::System;

    #[test]
    fn a_usb_stick_is_described() {
        let system = System::new();
        system.usb_stick("sdb", "8:16", 31_116_288);
        system.partition("sdb", "sdb1", "8:17", 16384, 61440);
        system.partition("sdb", "sdb2", "8:18", 77824, 2_000_000);
        system.link("dev/disk/by-id/usb-SanDisk_Ultra-0:0", "../../sdb");
        system.link("dev/disk/by-id/usb-SanDisk_Ultra-0:0-part1", "../../sdb1");
        let devices = list(&system.roots()).unwrap().devices;
        let stick = &devices[0];
        assert_eq!(devices.len(), 1);
        assert_eq!(stick.path, Path::new("/dev/sdb"));
        assert_eq!(stick.title(), "SanDisk Ultra");
        assert_eq!(stick.serial.as_deref(), Some("4C530001"));
        assert_eq!(stick.links, [PathBuf::from("/dev/disk/by-id/usb-SanDisk_Ultra-0:0")]);
        assert_eq!((stick.bus, stick.removable, stick.read_only), (Bus::Usb, true, false));
        assert_eq!((stick.size, stick.sector, stick.diskseq), (31_116_288 * 512, 512, Some(7)));
        let places: Vec<_> = stick.partitions.iter().map(|p| (p.number, p.start, p.size)).collect();
        assert_eq!(places, [(1, 16384 * 512, 61440 * 512), (2, 77824 * 512, 2_000_000 * 512)]);
        assert_eq!(stick.uses, []);
    }

    #[test]
    fn an_sd_slot_is_removable_though_the_kernel_says_no_and_emmc_is_not() {
        let system = System::new();
        system.disk("mmcblk0", "179:0", 1000, "platform/mmc0/mmc0:aaaa");
        system.file("sys/class/block/mmcblk0/device/type", "SD\n");
        system.file("sys/class/block/mmcblk0/device/name", "SC16G\n");
        system.disk("mmcblk1", "179:8", 1000, "platform/mmc1/mmc1:0001");
        system.file("sys/class/block/mmcblk1/device/type", "MMC\n");
        let devices = list(&system.roots()).unwrap().devices;
        let seen: Vec<_> = devices.iter().map(|d| (d.bus, d.removable, d.title())).collect();
        assert_eq!(seen, [(Bus::Sd, true, "SC16G".to_owned()), (Bus::Emmc, false, "emmc disk".to_owned())]);
    }

    #[test]
    fn what_is_mounted_through_a_loop_device_is_found() {
        let system = System::new();
        system.usb_stick("sdb", "8:16", 1000);
        system.partition("sdb", "sdb1", "8:17", 8, 800);
        for (name, number, backing) in [("loop0", "7:0", "/dev/sdb1"), ("loop1", "7:1", "/dev/loop0")] {
            system.disk(name, number, 800, "virtual");
            system.file(&format!("sys/class/block/{name}/loop/backing_file"), &format!("{backing}\n"));
            system.file(&format!("dev/{name}"), "");
        }
        system.mounts("22 1 7:1 / /home rw - ext4 /dev/loop1 rw\n", "");
        let devices = list(&system.roots()).unwrap().devices;
        for device in &devices {
            assert!(device.mounts().any(|at| at == Path::new("/home")), "{}", device.name);
        }
        let stick = devices.iter().find(|device| device.name == "sdb").unwrap();
        assert!(
            stick
                .uses
                .iter()
                .any(|user| matches!(user, Use::Holder { holder, kind: "loop", .. } if holder == "loop0"))
        );
    }

    #[test]
    fn mounts_and_swap_are_found_through_what_is_stacked_on_a_disk() {
        let system = System::new();
        system.disk("nvme0n1", "259:0", 1000, "pci0000:00/nvme/nvme0");
        system.partition("nvme0n1", "nvme0n1p1", "259:1", 64, 100);
        system.partition("nvme0n1", "nvme0n1p2", "259:2", 200, 800);
        system.disk("dm-0", "253:0", 790, "virtual");
        system.file("sys/class/block/dm-0/dm/name", "crypt\n");
        system.file("sys/class/block/dm-0/dm/uuid", "CRYPT-LUKS2-x\n");
        system.file("sys/class/block/dm-0/slaves/nvme0n1p2", "");
        system.file("sys/class/block/nvme0n1/nvme0n1p2/holders/dm-0", "");
        system.mounts(
            "22 1 253:0 / / rw - ext4 /dev/mapper/crypt rw\n\
             23 1 259:1 / /boot\\040esp rw - vfat /dev/nvme0n1p1 rw\n",
            "/swapfile file 100 0 -2\n",
        );
        let device = &list(&system.roots()).unwrap().devices[0];
        assert_eq!(device.bus, Bus::Nvme);
        let expected = [
            Use::Mount { device: "nvme0n1p1".into(), at: "/boot esp".into() },
            Use::Holder { device: "nvme0n1p2".into(), holder: "crypt".into(), kind: "crypt" },
            Use::Mount { device: "crypt".into(), at: "/".into() },
            Use::Swap { device: "/swapfile".into() },
        ];
        assert_eq!(device.uses, expected);
    }

    #[test]
    fn every_device_of_a_mounted_btrfs_is_in_use() {
        let system = System::new();
        system.disk("sda", "8:0", 1000, "pci0/ata1/host0/target0:0:0");
        system.disk("sdb", "8:16", 1000, "pci0/ata2/host1/target1:0:0");
        system.file("sys/fs/btrfs/3a1/devices/sda", "");
        system.file("sys/fs/btrfs/3a1/devices/sdb", "");
        system.mounts("22 1 0:30 /@ / rw - btrfs /dev/sda rw\n", "");
        let devices = list(&system.roots()).unwrap().devices;
        for device in &devices {
            let at = PathBuf::from("/");
            assert_eq!(device.uses, [Use::Mount { device: device.name.clone(), at }], "{}", device.name);
            assert_eq!(device.bus, Bus::Ata);
        }
    }
}
