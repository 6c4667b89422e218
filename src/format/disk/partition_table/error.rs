//! Why a table cannot be made.

/// A table cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A partition does not lie where partitions may.
    #[error("partition {number} covers sectors {start} to {last}, expected them between {first} and {end}")]
    Outside {
        /// Its number in the table, from 1.
        number: u32,
        /// Its first sector.
        start: u64,
        /// Its last sector.
        last: u64,
        /// The first sector that it may have.
        first: u64,
        /// The last sector that it may have.
        end: u64,
    },
    /// Two partitions share sectors.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u32, u32),
    /// A number that the table does not have, or has given already.
    #[error("there are two partitions {number}, or it is not between 1 and {most}")]
    Number {
        /// The number that was asked for.
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
