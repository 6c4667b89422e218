//! Tables as values.

use super::mbr_sector::is_extended;
use super::place::Place;
use uuid::Uuid;

/// Bytes of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectorSize {
    /// 512 bytes.
    S512,
    /// 4096 bytes.
    S4096,
}

impl SectorSize {
    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::S512 => 512,
            Self::S4096 => 4096,
        }
    }
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// DOS.
    Mbr(Mbr),
    /// GUID.
    Gpt(Gpt),
}

/// A DOS partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mbr {
    /// The disk id, the first half of a PARTUUID.
    pub disk_id: u32,
    /// At most four to write; when read, logical partitions follow, numbered from 5.
    pub partitions: Vec<MbrPartition>,
}

/// A partition in a DOS table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MbrPartition {
    /// Its number, from 1; logical ones from 5.
    pub number: u32,
    /// The first sector.
    pub start: u64,
    /// How many sectors.
    pub sectors: u64,
    /// The type: 0x83 for Linux, 0x0c for a FAT32, 0xee for a GPT behind it.
    pub kind: u8,
    /// Whether it is flagged active.
    pub active: bool,
}

impl MbrPartition {
    /// Where it lies.
    pub(crate) const fn place(&self) -> Place {
        Place { number: self.number, start: self.start, sectors: self.sectors }
    }

    /// Whether it only holds logical partitions.
    #[must_use]
    pub const fn is_extended(&self) -> bool {
        is_extended(self.kind)
    }
}

/// A GUID partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpt {
    /// The disk's GUID.
    pub disk_guid: Uuid,
    /// In the order of their entries.
    pub partitions: Vec<GptPartition>,
}

/// A partition in a GUID table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GptPartition {
    /// Its number, from 1.
    pub number: u32,
    /// The first sector.
    pub start: u64,
    /// How many sectors.
    pub sectors: u64,
    /// What it is for, as systemd and firmware ask.
    pub type_guid: Uuid,
    /// The PARTUUID: no two partitions have the same.
    pub unique_guid: Uuid,
    /// At most 36 UTF-16 units.
    pub name: String,
    /// The attribute bits.
    pub attributes: u64,
}

impl GptPartition {
    /// Where it lies.
    pub(crate) const fn place(&self) -> Place {
        Place { number: self.number, start: self.start, sectors: self.sectors }
    }
}
