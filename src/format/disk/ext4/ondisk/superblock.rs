//! The superblock: 1024 bytes, at byte 1024 of the file system; its copies begin their groups.
//!
//! Source: kernel `fs/ext4/ext4.h` (`struct ext4_super_block`); names are those of the kernel. Numbers are
//! little-endian.

use super::checksum;
use super::feature::{Features, INCOMPAT_CSUM_SEED};
use crate::bytes::{Le16, Le32, Raw, U8};

/// Where the first one is, in bytes.
pub const OFFSET: u64 = 1024;
/// Its length in bytes.
pub const LEN: usize = 1024;
/// What [`S_MAGIC`] says.
pub const MAGIC: u16 = 0xef53;
/// A bit of [`S_STATE`]: unmounted cleanly (`EXT4_VALID_FS`).
pub const VALID_FS: u16 = 1;
/// A bit of [`S_STATE`]: the kernel has found errors (`EXT4_ERROR_FS`).
pub const ERROR_FS: u16 = 2;
/// What [`S_ERRORS`] says: go on (`EXT4_ERRORS_CONTINUE`).
pub const ERRORS_CONTINUE: u16 = 1;
/// What [`S_REV_LEVEL`] says where inodes have a size of their own (`EXT4_DYNAMIC_REV`).
pub const DYNAMIC_REV: u32 = 1;
/// What [`S_REV_LEVEL`] says where they have [`GOOD_OLD_INODE_SIZE`] (`EXT4_GOOD_OLD_REV`).
pub const GOOD_OLD_REV: u32 = 0;
/// Bytes of an inode of old.
pub const GOOD_OLD_INODE_SIZE: u16 = 128;
/// What [`S_DEF_HASH_VERSION`] and the root of an index say (`DX_HASH_HALF_MD4`).
pub const HASH_HALF_MD4: u8 = 1;
/// A bit of [`S_FLAGS`]: names are hashed with signed characters, whatever those of the host are.
pub const FLAGS_SIGNED_HASH: u32 = 1;
/// The bits of [`S_FLAGS`] that say how names are hashed: signed (`EXT2_FLAGS_SIGNED_HASH`) or unsigned.
pub const FLAGS_HASH: u32 = 1 | 2;
/// Bits of [`S_DEFAULT_MOUNT_OPTS`] (`EXT4_DEFM_XATTR_USER`, `EXT4_DEFM_ACL`).
pub const DEFM_XATTR_USER_ACL: u32 = 0x4 | 0x8;
/// What [`S_CHECKSUM_TYPE`] says (`EXT4_CRC32C_CHKSUM`).
pub const CRC32C_CHKSUM: u8 = 1;
/// What [`S_JNL_BACKUP_TYPE`] says where [`S_JNL_BLOCKS`] is filled (`EXT3_JNL_BACKUP_BLOCKS` of e2fsprogs).
pub const JNL_BACKUP_BLOCKS: u8 = 1;
/// What [`S_MAX_MNT_COUNT`] says where no number of mounts demands a check.
pub const NEVER_CHECKED: u16 = 0xffff;

pub const S_INODES_COUNT: Le32 = Le32(0x00);
pub const S_BLOCKS_COUNT_LO: Le32 = Le32(0x04);
pub const S_R_BLOCKS_COUNT_LO: Le32 = Le32(0x08);
pub const S_FREE_BLOCKS_COUNT_LO: Le32 = Le32(0x0c);
pub const S_FREE_INODES_COUNT: Le32 = Le32(0x10);
pub const S_FIRST_DATA_BLOCK: Le32 = Le32(0x14);
/// Blocks have 1024 << this many bytes.
pub const S_LOG_BLOCK_SIZE: Le32 = Le32(0x18);
pub const S_LOG_CLUSTER_SIZE: Le32 = Le32(0x1c);
pub const S_BLOCKS_PER_GROUP: Le32 = Le32(0x20);
pub const S_CLUSTERS_PER_GROUP: Le32 = Le32(0x24);
pub const S_INODES_PER_GROUP: Le32 = Le32(0x28);
/// When it was mounted, seconds since 1970, as all times here.
pub const S_MTIME: Le32 = Le32(0x2c);
pub const S_WTIME: Le32 = Le32(0x30);
pub const S_MNT_COUNT: Le16 = Le16(0x34);
pub const S_MAX_MNT_COUNT: Le16 = Le16(0x36);
pub const S_MAGIC: Le16 = Le16(0x38);
pub const S_STATE: Le16 = Le16(0x3a);
pub const S_ERRORS: Le16 = Le16(0x3c);
pub const S_LASTCHECK: Le32 = Le32(0x40);
pub const S_REV_LEVEL: Le32 = Le32(0x4c);
pub const S_FIRST_INO: Le32 = Le32(0x54);
pub const S_INODE_SIZE: Le16 = Le16(0x58);
/// The group that this copy is in.
pub const S_BLOCK_GROUP_NR: Le16 = Le16(0x5a);
pub const S_UUID: Raw<16> = Raw(0x68);
pub const S_VOLUME_NAME: Raw<16> = Raw(0x78);
pub const S_RESERVED_GDT_BLOCKS: Le16 = Le16(0xce);
pub const S_JOURNAL_INUM: Le32 = Le32(0xe0);
/// The device of a journal that is not in the file system; 0 for none.
pub const S_JOURNAL_DEV: Le32 = Le32(0xe4);
pub const S_HASH_SEED: Raw<16> = Raw(0xec);
pub const S_DEF_HASH_VERSION: U8 = U8(0xfc);
pub const S_JNL_BACKUP_TYPE: U8 = U8(0xfd);
/// Bytes of a group descriptor, where the feature `64bit` is set.
pub const S_DESC_SIZE: Le16 = Le16(0xfe);
pub const S_DEFAULT_MOUNT_OPTS: Le32 = Le32(0x100);
pub const S_FIRST_META_BG: Le32 = Le32(0x104);
pub const S_MKFS_TIME: Le32 = Le32(0x108);
/// `i_block` of the journal's inode; behind it the high and the low half of its size.
pub const S_JNL_BLOCKS: Raw<60> = Raw(0x10c);
/// The two halves of the journal's size behind [`S_JNL_BLOCKS`].
pub const S_JNL_SIZE_HI: Le32 = Le32(0x148);
pub const S_JNL_SIZE_LO: Le32 = Le32(0x14c);
pub const S_BLOCKS_COUNT_HI: Le32 = Le32(0x150);
pub const S_FREE_BLOCKS_COUNT_HI: Le32 = Le32(0x158);
pub const S_MIN_EXTRA_ISIZE: Le16 = Le16(0x15c);
pub const S_WANT_EXTRA_ISIZE: Le16 = Le16(0x15e);
pub const S_FLAGS: Le32 = Le32(0x160);
/// The binary logarithm of the number of groups whose bitmaps and tables lie together.
pub const S_LOG_GROUPS_PER_FLEX: U8 = U8(0x174);
pub const S_CHECKSUM_TYPE: U8 = U8(0x175);
/// Blocks of metadata, which `df` does not count.
pub const S_OVERHEAD_CLUSTERS: Le32 = Le32(0x248);
/// The two groups with copies, where the feature `sparse_super2` is set.
pub const S_BACKUP_BGS: [Le32; 2] = [Le32(0x24c), Le32(0x250)];
pub const S_CHECKSUM_SEED: Le32 = Le32(0x270);
/// Bits 32 to 39 of the times.
pub const S_WTIME_HI: U8 = U8(0x274);
pub const S_MTIME_HI: U8 = U8(0x275);
pub const S_MKFS_TIME_HI: U8 = U8(0x276);
/// Over all that is before it.
pub const S_CHECKSUM: Le32 = Le32(0x3fc);

/// The checksum that belongs to a superblock, which is whole.
pub fn sum(superblock: &[u8]) -> u32 {
    checksum::update(u32::MAX, &superblock[..S_CHECKSUM.0])
}

/// Puts its checksum into a superblock.
pub fn sign(superblock: &mut [u8]) {
    let sum = sum(superblock);
    S_CHECKSUM.put(superblock, sum);
}

/// The seed of all other checksums of the file system.
pub fn seed(superblock: &[u8]) -> u32 {
    if Features::of(superblock).incompat(INCOMPAT_CSUM_SEED) {
        S_CHECKSUM_SEED.get(superblock)
    } else {
        checksum::file_system_seed(&S_UUID.get(superblock))
    }
}
