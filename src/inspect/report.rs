//! The report: what is known of a card, in the order in which it is shown.

use serde::Serialize;

/// Names the form of the report.
pub const SCHEMA: &str = "nixflash-inspect/1";

/// What is on an image. As JSON, names are written in camel case; what is not known is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Names the form: `nixflash-inspect/1`. Later forms of the same name only add.
    pub schema: &'static str,
    /// Length of the image in bytes.
    pub bytes: u64,
    /// The kind of partition table; none when there is no table.
    pub table: Option<TableKind>,
    /// Bytes of a sector, in which the table counts.
    pub sector_bytes: u64,
    /// Disk id of an MBR (8 hexadecimal digits) or GUID of a GPT.
    pub disk_id: Option<String>,
    /// The partitions, in the order of the table; number 0 is a file system without a table.
    pub partitions: Vec<Partition>,
    /// The NixOS on it.
    pub nixos: Option<Nixos>,
    /// What boot loaders offer, on all partitions.
    pub boot_entries: Vec<BootEntry>,
    /// What nixflash wrote about it (`nixflash-manifest/1`), from the root or else from a FAT.
    pub provenance: Option<serde_json::Value>,
    /// The inputs that the `flake.lock` of the embedded configuration pins.
    pub inputs: Vec<Input>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// One pinned input of a flake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Its name in the lock file.
    pub name: String,
    /// Where it is from.
    pub url: Option<String>,
    /// Its revision.
    pub revision: Option<String>,
    /// When it was changed last, seconds since 1970.
    pub last_modified: Option<u64>,
    /// The hash of its NAR.
    pub nar_hash: Option<String>,
}

/// A kind of partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TableKind {
    /// DOS.
    Mbr,
    /// GUID.
    Gpt,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Partition {
    /// Its number.
    pub number: u32,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The type as written in the table: two hexadecimal digits, or a GUID.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the type means.
    pub type_name: Option<&'static str>,
    /// Whether it is flagged active (MBR) or legacy BIOS bootable (GPT).
    pub active: bool,
    /// The attribute bits of a GPT, 16 hexadecimal digits.
    pub attributes: Option<String>,
    /// The PARTUUID.
    pub part_uuid: String,
    /// The name in a GPT.
    pub name: Option<String>,
    /// The file system.
    pub file_system: Option<FileSystem>,
}

/// One file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSystem {
    /// `FAT12`, `FAT16`, `FAT32`, `ext2`, `ext3`, `ext4`.
    pub kind: String,
    /// Its label.
    pub label: String,
    /// UUID of ext4, volume id of a FAT, as in `/dev/disk/by-uuid`.
    pub uuid: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Inodes in all.
    pub inodes: Option<u32>,
    /// Inodes that are free.
    pub free_inodes: Option<u32>,
    /// The state of ext4.
    pub state: Option<State>,
    /// When it was made, seconds since 1970.
    pub created: Option<u64>,
    /// When it was mounted last, seconds since 1970; none for never.
    pub mounted: Option<u64>,
    /// Features of ext4.
    pub features: Vec<String>,
}

/// The state of an ext4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It was unmounted.
    Clean,
    /// It was not unmounted.
    NotUnmounted,
    /// Its journal must be replayed; what is shown is from before.
    Replay,
    /// The kernel has found errors in it.
    Errors,
}

/// A NixOS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Nixos {
    /// The number of the partition that is its root.
    pub partition: u32,
    /// The toplevel that the system profile leads to.
    pub toplevel: Option<String>,
    /// Its version: `25.11.20251120.abcdef`.
    pub version: Option<String>,
    /// What a boot menu calls it.
    pub label: Option<String>,
    /// Its platform: `aarch64-linux`.
    pub system: Option<String>,
    /// Its kernel.
    pub kernel: Option<String>,
    /// The version of its kernel, by its modules.
    pub kernel_version: Option<String>,
    /// Its initrd.
    pub initrd: Option<String>,
    /// Its init.
    pub init: Option<String>,
    /// Its kernel parameters, without `init=`.
    pub kernel_params: Vec<String>,
    /// The generations of the system profile, oldest first.
    pub generations: Vec<Generation>,
    /// How many store paths are registered.
    pub store_paths: Option<u64>,
    /// The sum of their NARs, in bytes.
    pub nar_bytes: Option<u64>,
    /// The names in the directory of its configuration.
    pub configuration: Vec<String>,
    /// That directory, where it is not `/etc/nixos`.
    pub configuration_path: Option<String>,
}

/// One generation of the system profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// Its number.
    pub number: u32,
    /// Its toplevel.
    pub toplevel: String,
}

/// A boot loader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Loader {
    /// U-Boot with `extlinux.conf`.
    #[default]
    Extlinux,
    /// systemd-boot with an entry.
    SystemdBoot,
    /// systemd-boot with a unified kernel image.
    Unified,
    /// The firmware of a Raspberry Pi with `config.txt`.
    RaspberryPi,
}

/// One entry of a boot loader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BootEntry {
    /// Whose it is.
    pub loader: Loader,
    /// The number of the partition that it is on.
    pub partition: u32,
    /// The file that it is in.
    pub file: String,
    /// Its label, file name, or section of `config.txt`.
    pub label: String,
    /// What the menu calls it.
    pub title: String,
    /// The kernel, as written there, as is all that follows.
    pub kernel: String,
    /// The initrd.
    pub initrd: Option<String>,
    /// The device tree, or the directory of device trees.
    pub device_tree: Option<String>,
    /// The command line.
    pub command_line: String,
    /// Whether it is named as the default.
    pub is_default: bool,
}
