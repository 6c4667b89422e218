//! The plain form of a superblock: what nixflash writes and what Linux makes of that, and nothing that another reader
//! takes otherwise.
//!
//! ```text
//! 00..400 of the file system: where a boot sector would be, zeros      e0 s_journal_inum   e4 s_journal_dev
//! 100 s_default_mount_opts  160 s_flags  200 s_mount_opts [64]         240 quota inodes    254..268 encryption
//! 26c project quota  270 s_checksum_seed  27c s_encoding  280 s_orphan_file_inum
//! ```
//! Sources: kernel `fs/ext4/super.c` (`ext4_load_journal`, `parse_apply_sb_mount_options`, which obeys s_mount_opts),
//! `fs/ext4/resize.c` (`update_backups`, which copies the superblock as it is); U-Boot 2025.01 `fs/fs.c` (FAT is tried
//! before ext4), `fs/ext4/ext4_common.c` (`ext4fs_get_bgdtable` knows no meta_bg).

use crate::format::disk::ext4::ondisk::block::{INODE_SIZE_FIELD, LOG_BLOCK_SIZE};
use crate::format::disk::ext4::ondisk::feature::{
    COMPAT_HAS_JOURNAL, COMPAT_RESIZE_INODE, Features, INCOMPAT_META_BG, INCOMPAT_RECOVER,
};
use crate::format::disk::ext4::ondisk::group;
use crate::format::disk::ext4::ondisk::inode::{FIRST_INO, JOURNAL_INO};
use crate::format::disk::ext4::ondisk::superblock as ondisk;
use crate::format::disk::ext4::read::error::Error;
use crate::format::disk::ext4::read::file_system::Ext4;
use crate::format::disk::ext4::read::inode::Inode;
use crate::format::disk::ext4::read::superblock::Superblock;
use crate::ints;
use crate::stream::ReadAt;

/// Bytes of the block before and behind the superblock.
const BEFORE: u64 = 1024;
/// Where fields that must be zero begin and end.
const ZEROS: [(usize, usize, &str); 8] = [
    (0x50, 0x54, "users who may take its reserved blocks"),
    (0xe4, 0xe8, "a journal on another device"),
    (0x200, 0x240, "mount options"),
    (0x240, 0x248, "inodes of quotas"),
    (0x24c, 0x254, "groups of sparse backups"),
    (0x254, 0x268, "encryption"),
    (0x26c, 0x274, "project quotas or a seed of checksums"),
    (0x27c, 0x284, "an encoding or a file of orphans"),
];

impl Superblock {
    /// What is not plain, in words; empty for what nixflash made and Linux has used and grown since.
    #[must_use]
    pub fn oddities(&self) -> Vec<String> {
        let raw = &self.raw;
        let Features { compat, incompat, ro_compat } = Features::of(raw);
        let made = Features::MADE;
        let first_meta = ondisk::S_FIRST_META_BG.get(raw);
        let mut odd = Vec::new();
        // Linux grows beyond what is reserved by taking the resize inode away and going on with meta_bg.
        let is_far = incompat & INCOMPAT_META_BG != 0 && compat & COMPAT_RESIZE_INODE == 0 && first_meta > 0;
        let far = |bit: u32| if is_far { bit } else { 0 };
        for (what, found, expected) in [
            ("compatible", compat | far(COMPAT_RESIZE_INODE) | COMPAT_HAS_JOURNAL, made.compat),
            ("incompatible", incompat & !INCOMPAT_RECOVER & !far(INCOMPAT_META_BG), made.incompat),
            ("read-only compatible", ro_compat, made.ro_compat),
        ] {
            if found != expected {
                odd.push(format!("its {what} features are {found:#x}, expected {expected:#x}"));
            }
        }
        let journal = if compat & COMPAT_HAS_JOURNAL == 0 { 0 } else { JOURNAL_INO };
        for (what, found, expected) in [
            ("inode of its journal", ondisk::S_JOURNAL_INUM.get(raw), journal),
            ("first inode", ondisk::S_FIRST_INO.get(raw), FIRST_INO),
            ("default mount options", ondisk::S_DEFAULT_MOUNT_OPTS.get(raw), ondisk::DEFM_XATTR_USER_ACL),
            (
                "way of hashing names",
                ondisk::S_DEF_HASH_VERSION.get(raw).into(),
                ondisk::HASH_HALF_MD4.into(),
            ),
            ("flags", ondisk::S_FLAGS.get(raw) & ondisk::FLAGS_HASH, ondisk::FLAGS_SIGNED_HASH),
            ("inode size", ondisk::S_INODE_SIZE.get(raw).into(), INODE_SIZE_FIELD.into()),
            ("block size", ondisk::S_LOG_BLOCK_SIZE.get(raw), LOG_BLOCK_SIZE),
            ("size of clusters", ondisk::S_LOG_CLUSTER_SIZE.get(raw), LOG_BLOCK_SIZE),
            ("revision", ondisk::S_REV_LEVEL.get(raw), ondisk::DYNAMIC_REV),
        ] {
            if found != expected {
                odd.push(format!("its {what} is {found:#x}, expected {expected:#x}"));
            }
        }
        if incompat & INCOMPAT_META_BG == 0 && first_meta != 0 {
            odd.push("it names a first meta group and has none".to_owned());
        }
        let taken = ZEROS.iter().filter(|(from, to, _)| raw[*from..*to].iter().any(|byte| *byte != 0));
        odd.extend(
            taken.map(|(_, _, what)| format!("its superblock names {what}, which nixflash never does")),
        );
        odd
    }
}

impl<R: ReadAt> Ext4<R> {
    /// What lies around the superblock and in its copies that another reader may take for something else.
    pub fn odd_surroundings(&self) -> Result<Vec<String>, Error> {
        let mut odd = Vec::new();
        let mut sector = vec![0; ints::to_usize(BEFORE)];
        for (from, what) in [(0, "before"), (2 * BEFORE, "behind"), (3 * BEFORE, "behind")] {
            self.read(from, &mut sector)?;
            if let Some(at) = sector.iter().position(|byte| *byte != 0) {
                odd.push(format!(
                    "something was written {what} its superblock, at byte {}",
                    from + ints::to_u64(at)
                ));
            }
        }
        let per_group = self.superblock.blocks_per_group;
        let backups = (1..self.superblock.groups()).filter(|group| group::has_backup(*group));
        for group in backups {
            self.read(
                group.saturating_mul(per_group).saturating_mul(self.superblock.block_size),
                &mut sector,
            )?;
            if !self.is_copy(&sector) {
                odd.push(format!("the copy of its superblock in group {group} is of another file system"));
            }
        }
        Ok(odd)
    }

    /// Whether a copy of the superblock says what the superblock says; counts, times and its own checksum aside.
    fn is_copy(&self, copy: &[u8]) -> bool {
        const SAME: [(usize, usize); 9] = [
            (0x14, 0x2c),
            (0x38, 0x3a),
            (0x4c, 0x5a),
            (0x64, 0x88),
            (0xe0, 0xe8),
            (0xec, 0xfd),
            (0x100, 0x104),
            (0x160, 0x164),
            (0x174, 0x176),
        ];
        let raw = &self.superblock.raw;
        let same = SAME.iter().all(|(from, to)| raw[*from..*to] == copy[*from..*to]);
        // A growth by the kernel changes these two in its own time.
        let lasting = |superblock: &[u8]| {
            let Features { compat, incompat, .. } = Features::of(superblock);
            (compat & !COMPAT_RESIZE_INODE, incompat & !(INCOMPAT_RECOVER | INCOMPAT_META_BG))
        };
        same && lasting(raw) == lasting(copy)
    }

    /// Whether a reader that knows no meta_bg finds an inode where this one finds it.
    #[must_use]
    pub fn is_where_all_look(&self, inode: &Inode) -> bool {
        let sb = &self.superblock;
        let group = u64::from(inode.number.saturating_sub(1) / sb.inodes_per_group);
        let block = group / (sb.block_size / u64::from(sb.descriptor_size));
        sb.descriptor_block(block) == sb.first_data_block + 1 + block
    }
}
