//! Partition tables, MBR and GPT.
//!
//! ```text
//! MBR   446 bytes of code | 4 entries of 16 bytes | 55 aa     code holds the disk id at 440
//! entry active u8 | CHS | type u8 | CHS | first LBA u32 | sectors u32
//! GPT   protective MBR | header | 128 entries of 128 bytes | ... | entries again | header again
//! ```
//! Written by hand: the bytes must be the same each time, with CHS values as sfdisk writes them. Read by hand too,
//! because every length has to be checked before a crate may see it, and then nothing is left to do; the crates `gpt`
//! and `mbrman` judge in tests. Source: UEFI Specification 2.10, chapter 5.

mod encode;
mod read;

pub use encode::encode;
pub use read::{Problem, Reading, read};

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
    /// At most four; read, logical partitions follow from the fifth on.
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
    /// The type.
    pub kind: u8,
    /// Whether it is flagged active.
    pub active: bool,
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
    /// The type.
    pub type_guid: Uuid,
    /// The PARTUUID.
    pub unique_guid: Uuid,
    /// At most 36 UTF-16 units.
    pub name: String,
    /// The attribute bits.
    pub attributes: u64,
}

/// A table cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A partition does not lie where partitions may.
    #[error("partition {number} covers sectors {start} to {last}, expected them between {first} and {end}")]
    Outside {
        /// Its number.
        number: u32,
        /// Its first sector.
        start: u64,
        /// Its last sector.
        last: u64,
        /// The first sector that it may have.
        first: u64,
        /// The last.
        end: u64,
    },
    /// Two partitions share sectors.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u32, u32),
    /// More than the table can hold.
    #[error("{0} partitions, this table has room for {1}")]
    TooMany(usize, usize),
    /// A partition lies beyond what 32 bits can say.
    #[error("partition {0} reaches beyond 2 TiB, which an MBR cannot say")]
    Beyond32(u32),
    /// A name is too long.
    #[error("partition {0}: its name has more than 36 UTF-16 units")]
    Name(u32),
    /// A disk without room for a table.
    #[error("a disk of {0} bytes has no room for a partition table")]
    Disk(u64),
}

/// Entries of a GPT that are written.
const GPT_ENTRIES: usize = 128;
/// Bytes of each.
const GPT_ENTRY: usize = 128;
/// What a GPT header begins with.
const GPT_MAGIC: &[u8; 8] = b"EFI PART";
