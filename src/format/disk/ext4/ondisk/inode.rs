//! Inodes: 128 bytes, and fields behind them as far as `i_extra_isize` says.
//!
//! Source: kernel `fs/ext4/ext4.h` (`struct ext4_inode`), `fs/ext4/inode.c` (`ext4_inode_csum`); names are those of
//! the kernel.

use super::checksum;
use crate::bytes::{Le16, Le32, Raw};

/// The root directory (`EXT4_ROOT_INO`).
pub const ROOT_INO: u32 = 2;
/// What is reserved for more group descriptors (`EXT4_RESIZE_INO`).
pub const RESIZE_INO: u32 = 7;
/// The journal (`EXT4_JOURNAL_INO`).
pub const JOURNAL_INO: u32 = 8;
/// The first inode that is not reserved (`EXT4_GOOD_OLD_FIRST_INO`): lost+found.
pub const FIRST_INO: u32 = 11;

/// Bytes of an inode that every one has.
pub const GOOD_OLD_SIZE: usize = 128;
/// Bytes behind those that the fields of today take: what `i_extra_isize` says.
pub const EXTRA_ISIZE: u16 = 32;
/// Bytes of what [`I_BLOCKS_LO`] counts.
pub const SECTOR: u64 = 512;
/// Above this a directory's link count says only that it is not known (`EXT4_LINK_MAX`, `dir_nlink`).
pub const LINK_MAX: u32 = 65_000;

/// Directories, files and symlinks in [`I_MODE`].
pub const S_IFDIR: u16 = 0o040_000;
pub const S_IFREG: u16 = 0o100_000;
pub const S_IFLNK: u16 = 0o120_000;

/// Flags of [`I_FLAGS`] (`EXT4_*_FL`).
pub const COMPR_FL: u32 = 0x4;
pub const IMMUTABLE_FL: u32 = 0x10;
pub const APPEND_FL: u32 = 0x20;
pub const ENCRYPT_FL: u32 = 0x800;
/// The directory has an index in its first block.
pub const INDEX_FL: u32 = 0x1000;
/// `i_block` holds extents.
pub const EXTENTS_FL: u32 = 0x8_0000;
pub const INLINE_DATA_FL: u32 = 0x1000_0000;

/// Pointers of a block map in `i_block`: so many to blocks, then one to a tree of one level, of two, of three.
pub const NDIR_BLOCKS: usize = 12;
pub const IND_BLOCK: usize = 12;
pub const DIND_BLOCK: usize = 13;
pub const TIND_BLOCK: usize = 14;

/// What extended attributes in the inode begin with (`EXT4_XATTR_MAGIC`).
pub const XATTR_MAGIC: u32 = 0xea02_0000;

pub const I_MODE: Le16 = Le16(0x00);
pub const I_UID: Le16 = Le16(0x02);
pub const I_SIZE_LO: Le32 = Le32(0x04);
pub const I_ATIME: Le32 = Le32(0x08);
pub const I_CTIME: Le32 = Le32(0x0c);
pub const I_MTIME: Le32 = Le32(0x10);
pub const I_GID: Le16 = Le16(0x18);
pub const I_LINKS_COUNT: Le16 = Le16(0x1a);
/// Of [`SECTOR`] bytes each, whatever the size of blocks is.
pub const I_BLOCKS_LO: Le32 = Le32(0x1c);
pub const I_FLAGS: Le32 = Le32(0x20);
/// Extents, a block map, or the target of a short symlink.
pub const I_BLOCK: Raw<60> = Raw(0x28);
pub const I_GENERATION: Le32 = Le32(0x64);
/// The block of extended attributes; 0 for none.
pub const I_FILE_ACL_LO: Le32 = Le32(0x68);
pub const I_SIZE_HIGH: Le32 = Le32(0x6c);
pub const I_BLOCKS_HIGH: Le16 = Le16(0x74);
pub const I_FILE_ACL_HIGH: Le16 = Le16(0x76);
pub const I_UID_HIGH: Le16 = Le16(0x78);
pub const I_GID_HIGH: Le16 = Le16(0x7a);
pub const I_CHECKSUM_LO: Le16 = Le16(0x7c);
/// Bytes behind the first 128 that are fields.
pub const I_EXTRA_ISIZE: Le16 = Le16(0x80);
pub const I_CHECKSUM_HI: Le16 = Le16(0x82);
/// Two more bits of the seconds, then nanoseconds; so for all `EXTRA`.
pub const I_CTIME_EXTRA: Le32 = Le32(0x84);
pub const I_MTIME_EXTRA: Le32 = Le32(0x88);
pub const I_ATIME_EXTRA: Le32 = Le32(0x8c);
pub const I_CRTIME: Le32 = Le32(0x90);
pub const I_CRTIME_EXTRA: Le32 = Le32(0x94);

/// Where a pointer of a block map is in the inode.
pub const fn pointer(slot: usize) -> Le32 {
    Le32(I_BLOCK.0 + slot * Le32::LEN)
}

/// Whether an inode reaches far enough to have a field that ends `end` bytes from its start.
pub fn has_field(inode: &[u8], end: usize) -> bool {
    inode.len() >= end && usize::from(I_EXTRA_ISIZE.get(inode)) >= end - GOOD_OLD_SIZE
}

/// The seed of the checksums of all that belongs to one inode.
pub fn seed(file_system: u32, number: u32, generation: u32) -> u32 {
    checksum::update(checksum::update(file_system, &number.to_le_bytes()), &generation.to_le_bytes())
}

/// A checksum as it is stored, and as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    pub stored: u32,
    pub computed: u32,
}

/// Both checksums of an inode: of 16 bits where it has no field for the other half.
pub fn sum(seed: u32, inode: &[u8]) -> Sum {
    let low = I_CHECKSUM_LO.0..I_CHECKSUM_LO.0 + Le16::LEN;
    let high = I_CHECKSUM_HI.0..I_CHECKSUM_HI.0 + Le16::LEN;
    let none = [0; Le16::LEN];
    let sum = checksum::update(checksum::update(seed, &inode[..low.start]), &none);
    if has_field(inode, high.end) {
        let sum = checksum::update(checksum::update(sum, &inode[low.end..high.start]), &none);
        let computed = checksum::update(sum, &inode[high.end..]);
        let stored = u32::from(I_CHECKSUM_LO.get(inode)) | u32::from(I_CHECKSUM_HI.get(inode)) << 16;
        return Sum { stored, computed };
    }
    let computed = checksum::low16(checksum::update(sum, &inode[low.end..]));
    Sum { stored: I_CHECKSUM_LO.get(inode).into(), computed: computed.into() }
}

/// Puts its checksum into an inode.
pub fn sign(seed: u32, inode: &mut [u8]) {
    let Sum { computed, .. } = sum(seed, inode);
    I_CHECKSUM_LO.put(inode, checksum::low16(computed));
    if has_field(inode, I_CHECKSUM_HI.0 + Le16::LEN) {
        I_CHECKSUM_HI.put(inode, checksum::high16(computed));
    }
}
