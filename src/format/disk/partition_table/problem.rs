//! What can be wrong with a table that is there.

/// Which copy of a GPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GptCopy {
    /// At the start of the disk.
    Primary,
    /// At its end.
    Backup,
}

impl std::fmt::Display for GptCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
        })
    }
}

/// Why a copy of a GPT is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// There is none.
    #[error("is missing")]
    Missing,
    /// Its length cannot be.
    #[error("says that it has {0} bytes, expected 92 up to a sector")]
    Size(u32),
    /// Its sum is wrong.
    #[error("has a wrong checksum")]
    Checksum,
    /// It was made for another place.
    #[error("says that it is at sector {0}")]
    Place(u64),
    /// Its entries cannot be.
    #[error(
        "has {count} entries of {size} bytes, expected at most 1 MiB of entries of 128, 256 ... 4096 bytes"
    )]
    Entries {
        /// How many it says there are.
        count: u32,
        /// How long it says one is.
        size: u32,
    },
    /// Its entries are not on the disk.
    #[error("has its entries at sector {0}, which is not on the disk")]
    EntriesOutside(u64),
    /// The sum of its entries is wrong.
    #[error("has entries with a wrong checksum")]
    EntriesChecksum,
}

/// Something wrong with a table. The table can be used all the same, except where it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// One copy of a GPT is of no use; the other one was read if it is sound.
    #[error("the {copy} GPT at sector {lba} {fault}")]
    Header {
        /// The copy that is of no use.
        copy: GptCopy,
        /// Where it was looked for.
        lba: u64,
        /// What is wrong, as the end of a sentence.
        fault: HeaderFault,
    },
    /// The backup is not where a new disk would have it: the disk grew, or the image was written to a larger one.
    #[error("the backup GPT is at sector {lba}, the last sector is {last}")]
    BackupElsewhere {
        /// Where it is.
        lba: u64,
        /// Where it belongs.
        last: u64,
    },
    /// Both copies are sound and say different things; the primary one was read.
    #[error("the primary and the backup GPT differ")]
    CopiesDiffer,
    /// The kernel will not look at the GPT.
    #[error("there is no protective MBR in front of the GPT")]
    NoProtectiveMbr,
    /// The MBR lists partitions of its own beside the protective one.
    #[error("the MBR in front of the GPT is a hybrid: it lists partitions of its own")]
    Hybrid,
    /// A protective MBR without a sound GPT; there is no table.
    #[error("there is a protective MBR, but no sound GPT")]
    NoGpt,
    /// A GPT of an earlier life; it was not read, since the first sector says something else.
    #[error("there is an old GPT at sector {0}, which the first sector does not speak of")]
    StaleGpt(u64),
    /// An entry of the MBR is neither active nor not; there is no table.
    #[error("entry {number} of the MBR has the active flag {flag:#04x}, expected 0x00 or 0x80")]
    ActiveFlag {
        /// The entry, from 1.
        number: u32,
        /// What it says.
        flag: u8,
    },
    /// More than one partition is flagged active.
    #[error("{0} partitions are flagged active")]
    Active(usize),
    /// More than one partition holds logical ones; those of the first were read.
    #[error("{0} partitions hold logical ones, expected one")]
    Extended(usize),
    /// A partition ends before it begins; it was left out.
    #[error("partition {number} ends at sector {last}, before it begins at {start}")]
    Reversed {
        /// Its number in the table, from 1.
        number: u32,
        /// Its first sector.
        start: u64,
        /// Its last sector.
        last: u64,
    },
    /// A partition is not where partitions may be. It was left out where its end cannot be said in bytes.
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
    /// A name is not UTF-16; what is not was replaced.
    #[error("the name of partition {0} is not UTF-16")]
    Name(u32),
    /// The chain of logical partitions leads to where none can be; it was read up to there.
    #[error("the chain of logical partitions leads to sector {0}, which holds none")]
    ChainEnd(u64),
    /// The chain of logical partitions leads to itself; it was read up to there.
    #[error("the chain of logical partitions leads to sector {0} again")]
    ChainLoop(u64),
    /// The chain of logical partitions does not end; as many were read.
    #[error("there are more than {0} logical partitions")]
    ChainLong(u32),
}
