//! Sectors, and the slots of a directory: their attributes and limits.

/// Bytes of a sector of the volumes that are written here.
pub(crate) const SECTOR: u64 = 512;
/// Bytes of a slot of a directory.
pub(crate) const SLOT: u64 = 32;
/// The longest directory that Linux reads, in bytes (`FAT_MAX_DIR_SIZE`).
pub(crate) const MAX_DIRECTORY: u64 = 65_536 * SLOT;
/// The deepest directory: far below what the limits of paths allow elsewhere, so that recursion is bounded.
pub(crate) const MAX_DEPTH: usize = 128;
/// Attribute of a slot: the volume label.
pub(crate) const ATTR_VOLUME_ID: u8 = 0x08;
/// Attribute of a slot: a directory.
pub(crate) const ATTR_DIRECTORY: u8 = 0x10;
/// Attribute of a slot: a file that was changed since a backup, which every new file is.
pub(crate) const ATTR_ARCHIVE: u8 = 0x20;
/// Attributes of a slot with a part of a long name.
pub(crate) const ATTR_LONG_NAME: u8 = 0x0f;
/// The checksum of a short name that ties the slots of a long name to it.
pub(crate) fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}
