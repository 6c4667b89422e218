//! A board as nixflash knows it: what its ROM and boot loader expect of a card.

use super::glob::matches;
use crate::format::disk::fat;
use crate::sizes;

/// The kind of partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableKind {
    /// DOS partition table.
    Mbr,
    /// GUID partition table.
    Gpt,
}

/// Who loads the kernel, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// U-Boot reads `/boot/extlinux/extlinux.conf` on the root.
    Extlinux,
    /// systemd-boot on the EFI system partition.
    SystemdBoot,
    /// The firmware of a Raspberry Pi starts the kernel, which lies beside it.
    RaspberryPi,
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// FAT that the board's ROM or firmware reads.
    Firmware,
    /// FAT that UEFI reads.
    Esp,
    /// ext4 with the store; the last one.
    Root,
}

impl Role {
    /// As profiles and manifests write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Esp => "esp",
            Self::Root => "root",
        }
    }
}

/// The type of a partition in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionType {
    /// One byte, in an MBR.
    Mbr(u8),
    /// A GUID, in a GPT.
    Gpt(uuid::Uuid),
}

/// One partition of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub role: Role,
    /// Where it begins, in bytes, a multiple of 1 MiB.
    pub start: u64,
    /// Its length in bytes, a multiple of 1 MiB; `None` for the root, which takes what it needs or what is left.
    pub size: Option<u64>,
    /// The type in the table.
    pub kind: PartitionType,
    /// MBR: flagged active. GPT: legacy BIOS bootable.
    pub active: bool,
    /// GPT: the name of the partition.
    pub name: String,
    /// Label of the file system, unless the system's fstab demands another.
    pub label: String,
    /// FAT: the volume id, unless fstab demands another; derived when absent.
    pub volume_id: Option<u32>,
    /// Why it is as it is.
    pub reason: Option<String>,
}

/// Firmware that is not part of a NixOS system, and how it is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The key in the profile.
    pub key: String,
    /// Patterns for the name of the store path (after the hash), best first.
    pub names: Vec<String>,
    /// Directories in the package that may hold the files, tried in order; empty for the package itself.
    pub directories: Vec<String>,
    /// Files that must be in that directory.
    pub needs: Vec<String>,
    /// Whether the board boots without it.
    pub optional: bool,
    /// The command that makes it.
    pub command: String,
    /// What it is for.
    pub reason: Option<String>,
}

/// A boot loader that lies outside of all partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The key of the package.
    pub package: String,
    /// The file, relative to the package's directory.
    pub file: String,
    /// Where it begins on the disk, in bytes, a multiple of 512.
    pub offset: u64,
    /// The most bytes that it may have.
    pub max: u64,
    /// Why it lies there.
    pub reason: Option<String>,
}

/// Where files for the first FAT come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRule {
    /// The key of the package.
    pub package: String,
    /// Patterns relative to the package's directory; `*` does not match a slash.
    pub from: Vec<String>,
    /// Patterns relative to the toplevel's `dtbs`, for when the package has none of `from`.
    pub or_device_trees: Vec<String>,
    /// A directory, with a slash at its end, or the name for the one file.
    pub to: String,
    /// Whether it is an error when nothing matches.
    pub required: bool,
    /// Why they are there.
    pub reason: Option<String>,
}

impl FileRule {
    /// Whether it may put a file at a path of the FAT, folded as FAT folds names; `counts` says whether a pattern does.
    pub fn could_put(&self, folded: &str, counts: impl Fn(&str) -> bool) -> bool {
        if !self.to.ends_with('/') {
            return fat::fold(&self.to) == folded;
        }
        let Some(base) = folded.strip_prefix(&fat::fold(&self.to)) else { return false };
        self.from.iter().any(|pattern| {
            let last = pattern.rsplit('/').next().unwrap_or(pattern);
            counts(last) && matches(fat::fold(last).as_bytes(), base.as_bytes())
        })
    }
}

/// Something that the board boots from, and what a kernel needs to find its root there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// What people call it.
    pub name: String,
    /// Drivers, as the kernel writes them; `|` between those of which one is enough.
    pub drivers: Vec<String>,
}

/// A board: where its ROM looks for what, and what its boot loader demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// The word for it on the command line.
    pub name: String,
    /// Other words for it.
    pub aliases: Vec<String>,
    /// What people call it.
    pub title: String,
    /// The platform that a toplevel's `system` must name: `aarch64-linux`.
    pub system: String,
    /// The kind of partition table.
    pub table: TableKind,
    /// Why that kind.
    pub table_reason: Option<String>,
    /// MBR: the disk id, unless a PARTUUID demands another; derived when absent.
    pub disk_id: Option<u32>,
    /// Who loads the kernel.
    pub loader: Loader,
    /// Partitions in ascending order; the last is the root.
    pub partitions: Vec<Partition>,
    /// What the board boots from; empty where nothing is known.
    pub media: Vec<Medium>,
    /// Firmware from outside the system.
    pub packages: Vec<Package>,
    /// Boot loaders outside of all partitions, in ascending order.
    pub raws: Vec<Raw>,
    /// Files of the packages that go onto the first FAT.
    pub files: Vec<FileRule>,
    /// `config.txt`, for boards whose firmware reads one.
    pub config_txt: Option<String>,
    /// What must be so that no card can bring about: said with every plan.
    pub requires: Vec<String>,
    /// What else is good to know of it.
    pub notes: Vec<String>,
    /// Where the facts in the profile are from.
    pub sources: Vec<String>,
    /// SHA-256 of the profile's text.
    pub digest: [u8; 32],
}

impl Board {
    /// The root's partition.
    #[must_use]
    pub fn root(&self) -> &Partition {
        // cannot fail: validation leaves a root, and it is the last
        self.partitions.last().expect("a validated profile has a root")
    }

    /// The partition that takes the firmware's or the loader's files, and its number, counted from 1.
    #[must_use]
    pub fn boot_fat(&self) -> Option<(u32, &Partition)> {
        (1..).zip(&self.partitions).find(|(_, partition)| partition.role != Role::Root)
    }

    /// A line for a list of boards.
    #[must_use]
    pub fn summary(&self) -> String {
        let table = match self.table {
            TableKind::Mbr => "MBR",
            TableKind::Gpt => "GPT",
        };
        let loader = match self.loader {
            Loader::Extlinux => "U-Boot, extlinux",
            Loader::SystemdBoot => "systemd-boot",
            Loader::RaspberryPi => "kernel beside the firmware",
        };
        let raws = self.raws.iter().map(|raw| format!("{} at {}", raw.file, sizes::show_bytes(raw.offset)));
        let fat = self.boot_fat().and_then(|(_, fat)| fat.size);
        let fat = fat.map(|size| format!("FAT of {}", sizes::show_bytes(size)));
        let parts: Vec<String> =
            [table.to_owned()].into_iter().chain(raws).chain(fat).chain([loader.to_owned()]).collect();
        parts.join(", ")
    }
}
