//! Boards are data: the profile file's syntax and what it must satisfy.
//!
//! A profile is TOML. Sizes have their unit written out; an unknown key, a word outside its set, or partitions that
//! overlap are errors that name the file and the key. `boards/` holds those built in; a file of the user's takes the
//! same path.

mod glob;
mod profile;

pub use glob::matches;

use crate::num;
use sha2::{Digest, Sha256};

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
}

/// One board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// The word for it on the command line.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// The platform that a toplevel's `system` must name: `aarch64-linux`.
    pub system: String,
    /// The kind of partition table.
    pub table: TableKind,
    /// MBR: the disk id, unless a PARTUUID demands another; derived when absent.
    pub disk_id: Option<u32>,
    /// Who loads the kernel.
    pub loader: Loader,
    /// Partitions in ascending order; the last is the root.
    pub partitions: Vec<Partition>,
    /// Firmware from outside the system.
    pub packages: Vec<Package>,
    /// Files of the packages that go onto the first FAT.
    pub files: Vec<FileRule>,
    /// `config.txt`, for boards whose firmware reads one.
    pub config_txt: Option<String>,
    /// Where the facts in the profile are from.
    pub sources: Vec<String>,
    /// SHA-256 of the profile's text.
    pub digest: [u8; 32],
}

/// A profile is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not TOML, or has an unknown key or a value of the wrong type.
    #[error("{file}: {message}")]
    Syntax {
        /// The profile.
        file: String,
        /// What the TOML parser says, with the line.
        message: String,
    },
    /// A value cannot be used.
    #[error("{file}: {key}: {message}")]
    Value {
        /// The profile.
        file: String,
        /// The key, with the number of its table where there are several.
        key: String,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// No such board is built in.
    #[error("no board is called {name:?}; there are: {known}")]
    Unknown {
        /// The word given.
        name: String,
        /// Those there are.
        known: String,
    },
}

/// Every profile built in, as file name and text, sorted by name.
const BUILT_IN: &[(&str, &str)] = &[
    ("boards/rpi-zero2w.toml", include_str!("../../boards/rpi-zero2w.toml")),
    ("boards/rpi3.toml", include_str!("../../boards/rpi3.toml")),
    ("boards/rpi4.toml", include_str!("../../boards/rpi4.toml")),
    ("boards/uefi-aarch64.toml", include_str!("../../boards/uefi-aarch64.toml")),
];

/// Parses a profile; `file` names it in errors.
pub fn parse(file: &str, text: &str) -> Result<Board, Error> {
    let raw: profile::Profile = toml::from_str(text)
        .map_err(|e| Error::Syntax { file: file.to_owned(), message: e.to_string().trim_end().to_owned() })?;
    raw.validate(Sha256::digest(text.as_bytes()).into()).map_err(|(key, message)| Error::Value {
        file: file.to_owned(),
        key,
        message,
    })
}

/// All boards built in, sorted by name.
pub fn all() -> Result<Vec<Board>, Error> {
    BUILT_IN.iter().map(|(file, text)| parse(file, text)).collect()
}

/// The board of that name.
pub fn find(name: &str) -> Result<Board, Error> {
    let mut boards = all()?;
    match boards.iter().position(|board| board.name == name) {
        Some(at) => Ok(boards.swap_remove(at)),
        None => {
            let known: Vec<_> = boards.into_iter().map(|board| board.name).collect();
            Err(Error::Unknown { name: name.to_owned(), known: known.join(", ") })
        }
    }
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
        let (table, loader) = match (self.table, self.loader) {
            (TableKind::Mbr, Loader::Extlinux) => ("MBR", "U-Boot, extlinux"),
            (TableKind::Gpt, Loader::Extlinux) => ("GPT", "U-Boot, extlinux"),
            (TableKind::Mbr, Loader::SystemdBoot) => ("MBR", "systemd-boot"),
            (TableKind::Gpt, Loader::SystemdBoot) => ("GPT", "systemd-boot"),
        };
        let fat = self.boot_fat().and_then(|(_, fat)| fat.size).map(num::show_bytes).unwrap_or_default();
        format!("{table}, FAT of {fat}, {loader}")
    }
}
