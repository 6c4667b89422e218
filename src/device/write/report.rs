//! What was written.

/// How sure it is that the card holds the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The medium was read and holds it.
    Medium,
    /// What was read is right, but may have come from a cache of the system.
    Cached,
    /// Nobody asked.
    Skipped,
}

/// A card was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The length of the image.
    pub image_len: u64,
    /// Bytes written, in all.
    pub written: u64,
    /// Bytes that the card held already.
    pub kept: u64,
    /// Bytes read back and right.
    pub verified: u64,
    /// How sure that is.
    pub verification: Verification,
    /// Whether the backup of a GPT was moved to the end of the card.
    pub backup_moved: bool,
    /// What became of the last partition, if it should grow.
    pub growth: Option<Growth>,
    /// Why no partition grew, if one should and none did.
    pub ungrown: Option<&'static str>,
}

/// What became of the last partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Its number.
    pub number: u32,
    /// Its length now, in bytes.
    pub len: u64,
    /// Why its file system was left as it is, where it was.
    pub left: Option<String>,
}
