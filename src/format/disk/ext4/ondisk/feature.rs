//! The feature words of a superblock: each bit once, with the kernel's name and the one that `dumpe2fs` prints.
//!
//! Source: kernel `fs/ext4/ext4.h` (`EXT4_FEATURE_*`), e2fsprogs `lib/e2p/feature.c`.

use crate::bytes::Le32;

/// The three words in the superblock.
const S_FEATURE_COMPAT: Le32 = Le32(0x5c);
const S_FEATURE_INCOMPAT: Le32 = Le32(0x60);
const S_FEATURE_RO_COMPAT: Le32 = Le32(0x64);

pub const COMPAT_HAS_JOURNAL: u32 = 0x4;
pub const COMPAT_EXT_ATTR: u32 = 0x8;
pub const COMPAT_RESIZE_INODE: u32 = 0x10;
pub const COMPAT_DIR_INDEX: u32 = 0x20;
pub const COMPAT_SPARSE_SUPER2: u32 = 0x200;

pub const INCOMPAT_COMPRESSION: u32 = 0x1;
pub const INCOMPAT_FILETYPE: u32 = 0x2;
pub const INCOMPAT_RECOVER: u32 = 0x4;
pub const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
pub const INCOMPAT_META_BG: u32 = 0x10;
pub const INCOMPAT_EXTENTS: u32 = 0x40;
pub const INCOMPAT_64BIT: u32 = 0x80;
pub const INCOMPAT_MMP: u32 = 0x100;
pub const INCOMPAT_FLEX_BG: u32 = 0x200;
pub const INCOMPAT_EA_INODE: u32 = 0x400;
pub const INCOMPAT_DIRDATA: u32 = 0x1000;
pub const INCOMPAT_CSUM_SEED: u32 = 0x2000;
pub const INCOMPAT_LARGEDIR: u32 = 0x4000;
pub const INCOMPAT_INLINE_DATA: u32 = 0x8000;
pub const INCOMPAT_ENCRYPT: u32 = 0x1_0000;
pub const INCOMPAT_CASEFOLD: u32 = 0x2_0000;

pub const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
pub const RO_COMPAT_LARGE_FILE: u32 = 0x2;
pub const RO_COMPAT_HUGE_FILE: u32 = 0x8;
pub const RO_COMPAT_GDT_CSUM: u32 = 0x10;
pub const RO_COMPAT_DIR_NLINK: u32 = 0x20;
pub const RO_COMPAT_EXTRA_ISIZE: u32 = 0x40;
pub const RO_COMPAT_BIGALLOC: u32 = 0x200;
pub const RO_COMPAT_METADATA_CSUM: u32 = 0x400;

/// Features that whoever does not know them may ignore.
pub const COMPAT: [(u32, &str); 12] = [
    (0x1, "dir_prealloc"),
    (0x2, "imagic_inodes"),
    (COMPAT_HAS_JOURNAL, "has_journal"),
    (COMPAT_EXT_ATTR, "ext_attr"),
    (COMPAT_RESIZE_INODE, "resize_inode"),
    (COMPAT_DIR_INDEX, "dir_index"),
    (0x40, "lazy_bg"),
    (0x100, "snapshot_bitmap"),
    (COMPAT_SPARSE_SUPER2, "sparse_super2"),
    (0x400, "fast_commit"),
    (0x800, "stable_inodes"),
    (0x1000, "orphan_file"),
];

/// Features that change the meaning of what is read.
pub const INCOMPAT: [(u32, &str); 16] = [
    (INCOMPAT_COMPRESSION, "compression"),
    (INCOMPAT_FILETYPE, "filetype"),
    (INCOMPAT_RECOVER, "needs_recovery"),
    (INCOMPAT_JOURNAL_DEV, "journal_dev"),
    (INCOMPAT_META_BG, "meta_bg"),
    (INCOMPAT_EXTENTS, "extent"),
    (INCOMPAT_64BIT, "64bit"),
    (INCOMPAT_MMP, "mmp"),
    (INCOMPAT_FLEX_BG, "flex_bg"),
    (INCOMPAT_EA_INODE, "ea_inode"),
    (INCOMPAT_DIRDATA, "dirdata"),
    (INCOMPAT_CSUM_SEED, "metadata_csum_seed"),
    (INCOMPAT_LARGEDIR, "large_dir"),
    (INCOMPAT_INLINE_DATA, "inline_data"),
    (INCOMPAT_ENCRYPT, "encrypt"),
    (INCOMPAT_CASEFOLD, "casefold"),
];

/// Features that a writer has to know; of a reader only `bigalloc` demands anything, which counts clusters for blocks.
pub const RO_COMPAT: [(u32, &str); 15] = [
    (RO_COMPAT_SPARSE_SUPER, "sparse_super"),
    (RO_COMPAT_LARGE_FILE, "large_file"),
    (RO_COMPAT_HUGE_FILE, "huge_file"),
    (RO_COMPAT_GDT_CSUM, "uninit_bg"),
    (RO_COMPAT_DIR_NLINK, "dir_nlink"),
    (RO_COMPAT_EXTRA_ISIZE, "extra_isize"),
    (0x80, "snapshot"),
    (0x100, "quota"),
    (RO_COMPAT_BIGALLOC, "bigalloc"),
    (RO_COMPAT_METADATA_CSUM, "metadata_csum"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x4000, "shared_blocks"),
    (0x8000, "verity"),
    (0x1_0000, "orphan_present"),
];

/// The three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    pub compat: u32,
    pub incompat: u32,
    pub ro_compat: u32,
}

impl Features {
    /// What every file system made here has; one without room for a journal lacks `has_journal`.
    pub const MADE: Self = Self {
        compat: COMPAT_HAS_JOURNAL | COMPAT_EXT_ATTR | COMPAT_RESIZE_INODE | COMPAT_DIR_INDEX,
        incompat: INCOMPAT_FILETYPE | INCOMPAT_EXTENTS | INCOMPAT_FLEX_BG,
        ro_compat: RO_COMPAT_SPARSE_SUPER
            | RO_COMPAT_LARGE_FILE
            | RO_COMPAT_HUGE_FILE
            | RO_COMPAT_DIR_NLINK
            | RO_COMPAT_EXTRA_ISIZE
            | RO_COMPAT_METADATA_CSUM,
    };

    /// Those of a superblock.
    pub fn of(superblock: &[u8]) -> Self {
        Self {
            compat: S_FEATURE_COMPAT.get(superblock),
            incompat: S_FEATURE_INCOMPAT.get(superblock),
            ro_compat: S_FEATURE_RO_COMPAT.get(superblock),
        }
    }

    /// Puts them into a superblock.
    pub fn put(self, superblock: &mut [u8]) {
        S_FEATURE_COMPAT.put(superblock, self.compat);
        S_FEATURE_INCOMPAT.put(superblock, self.incompat);
        S_FEATURE_RO_COMPAT.put(superblock, self.ro_compat);
    }

    /// Whether all bits of a mask are set in the first word.
    pub const fn compat(self, bits: u32) -> bool {
        self.compat & bits == bits
    }

    /// Whether all bits of a mask are set in the second word.
    pub const fn incompat(self, bits: u32) -> bool {
        self.incompat & bits == bits
    }

    /// Whether all bits of a mask are set in the third word.
    pub const fn ro_compat(self, bits: u32) -> bool {
        self.ro_compat & bits == bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_has_one_name_and_what_is_made_is_as_it_always_was() {
        for names in [&COMPAT[..], &INCOMPAT[..], &RO_COMPAT[..]] {
            assert!(names.windows(2).all(|pair| pair[0].0 < pair[1].0), "{names:?}");
            assert!(names.iter().all(|(bit, _)| bit.is_power_of_two()), "{names:?}");
        }
        let made = Features { compat: 0x3c, incompat: 0x242, ro_compat: 0x46b };
        assert_eq!(Features::MADE, made);
    }
}
