//! What a FAT is to be, and the numbers of one that is planned.

use super::label::Label;
use crate::format::disk::fat::ondisk::boot_sector::FatType;

/// Which type of FAT is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// FAT16 below 512 MiB, FAT32 from there on.
    Auto,
    /// FAT16, or an error where the size does not allow it.
    Fat16,
    /// FAT32, or an error where the size does not allow it.
    Fat32,
}

/// What the tree does not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// The length of the volume in bytes, a multiple of 512.
    pub size: u64,
    /// The label, which `lsblk` and `/dev/disk/by-label` show.
    pub label: Label,
    /// The volume id; `lsblk` shows 0x2178694e as `2178-694E`.
    pub volume_id: u32,
    /// FAT16 or FAT32, or as the size demands.
    pub kind: Kind,
    /// How many sectors of the disk come before the volume.
    pub hidden_sectors: u32,
    /// The time of the label, seconds since 1970; what is before 1980 becomes 1980-01-01.
    pub epoch: u32,
}

/// The numbers of a planned volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// FAT16 or FAT32: the number of clusters decides.
    pub kind: FatType,
    /// Bytes of a cluster.
    pub cluster_bytes: u64,
    /// Clusters in all.
    pub clusters: u64,
    /// Bytes in clusters that nothing uses.
    pub free_bytes: u64,
}
