//! Partition tables, MBR and GPT.
//!
//! ```text
//! MBR    440 bytes of code | disk id u32 | 2 bytes | 4 entries of 16 bytes | 55 aa
//! entry  active u8 | CHS 3 | type u8 | CHS 3 | first LBA u32 | sectors u32
//! GPT    protective MBR | header | entries | ... partitions ... | entries | header
//! header "EFI PART" | revision u32 | size u32 | CRC u32 | 0 u32 | own LBA u64 | other LBA u64 | first usable u64
//!        | last usable u64 | disk GUID | LBA of entries u64 | count u32 | size of one u32 | CRC of entries u32
//! entry  type GUID | unique GUID | first LBA u64 | last LBA u64 | attributes u64 | name, 36 units of UTF-16
//! ```
//! Written by hand: the bytes must be the same each time, with CHS values as sfdisk writes them. Read by hand too,
//! because every number has to be checked before a crate may see it (`gpt` 4.1 asserts the size of entries and takes
//! overlapping and reversed partitions, `mbrman` 0.6 adds without checking), and then nothing is left to do. Both
//! crates judge in tests. Source: UEFI Specification 2.10, chapter 5.

mod encode;
mod gpt;
mod grow;
mod mbr;
mod problem;
mod read;
mod relocate;

pub use encode::encode;
pub use grow::{Grown, grow, hindrance};
pub use problem::{GptCopy, HeaderFault, Problem};
pub use read::{ReadError, Reading, Span, read, read_with};
pub use relocate::{Relocated, relocate};

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
    /// The type.
    pub kind: u8,
    /// Whether it is flagged active.
    pub active: bool,
}

impl MbrPartition {
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
    /// A number that the table does not have, or has given already.
    #[error("there are two partitions {number}, or it is not between 1 and {most}")]
    Number {
        /// The number.
        number: u32,
        /// How many the table can hold.
        most: u32,
    },
    /// A type that means an empty entry, or a container.
    #[error("partition {0}: its type says that it is empty, or holds other partitions")]
    Type(u32),
    /// Two partitions have the same PARTUUID, or one has none.
    #[error("partition {0}: its unique GUID is nil, or that of another partition")]
    Guid(u32),
    /// A partition lies beyond what 32 bits can say.
    #[error("partition {0} begins beyond sector 4294967295 or is longer, which an MBR cannot say")]
    Beyond32(u32),
    /// A name does not fit.
    #[error("partition {0}: its name has more than 36 UTF-16 units, or a NUL")]
    Name(u32),
    /// A disk without room for a table.
    #[error("a disk of {0} bytes has no room for a partition table")]
    Disk(u64),
}

/// Entries of a GPT that are written.
const GPT_ENTRIES: u32 = 128;
/// Bytes of an entry as it is written, and the least that one has.
const GPT_ENTRY: u32 = 128;
/// What a GPT header begins with.
const GPT_MAGIC: &[u8; 8] = b"EFI PART";
/// The bytes of a header that mean something.
const GPT_HEADER: u32 = 92;
/// The type of the MBR's entry in front of a GPT.
const PROTECTIVE: u8 = 0xee;
/// Where the entries of an MBR begin.
const MBR_ENTRIES: usize = 446;

/// Whether a type of an MBR says that the partition only holds logical ones.
const fn is_extended(kind: u8) -> bool {
    matches!(kind, 0x05 | 0x0f | 0x85)
}
