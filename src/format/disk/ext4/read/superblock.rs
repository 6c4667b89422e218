//! The superblock, and what it says about where everything is.
//!
//! ```text
//! 00 s_inodes_count        04 s_blocks_count_lo     0c s_free_blocks_count_lo  10 s_free_inodes_count
//! 14 s_first_data_block    18 s_log_block_size      20 s_blocks_per_group      28 s_inodes_per_group
//! 2c s_mtime  30 s_wtime   34 s_mnt_count u16       38 s_magic u16             3a s_state u16
//! 4c s_rev_level           58 s_inode_size u16      5c s_feature_compat, _incompat, _ro_compat
//! 68 s_uuid [16]           78 s_volume_name [16]    fe s_desc_size u16         104 s_first_meta_bg
//! 108 s_mkfs_time          150 s_blocks_count_hi    158 s_free_blocks_hi       175 s_checksum_type u8
//! 24c s_backup_bgs [2]     270 s_checksum_seed      274 s_wtime_hi, s_mtime_hi, s_mkfs_time_hi u8
//! 3fc s_checksum           numbers are little-endian, of 32 bits where nothing is said
//! ```
//! Source: kernel `fs/ext4/ext4.h` (`struct ext4_super_block`), e2fsprogs `lib/e2p/feature.c` for the names.

use super::{Error, le16, le32};
use crate::format::disk::ext4::ondisk::checksum;
use crate::format::disk::ext4::write::geometry;
use crate::stream::ReadAt;

/// Features that a reader need not know: bit and name.
const COMPAT: [(u32, &str); 12] = [
    (0x1, "dir_prealloc"),
    (0x2, "imagic_inodes"),
    (0x4, "has_journal"),
    (0x8, "ext_attr"),
    (0x10, "resize_inode"),
    (0x20, "dir_index"),
    (0x40, "lazy_bg"),
    (0x100, "snapshot_bitmap"),
    (0x200, "sparse_super2"),
    (0x400, "fast_commit"),
    (0x800, "stable_inodes"),
    (0x1000, "orphan_file"),
];

/// Features that change what is read, and are understood.
const INCOMPAT: [(u32, &str); 8] = [
    (0x2, "filetype"),
    (0x4, "needs_recovery"),
    (0x10, "meta_bg"),
    (0x40, "extent"),
    (0x80, "64bit"),
    (0x200, "flex_bg"),
    (0x2000, "metadata_csum_seed"),
    (0x4000, "large_dir"),
];

/// Features that a writer must know, and a reader only where said below.
const RO_COMPAT: [(u32, &str); 14] = [
    (0x1, "sparse_super"),
    (0x2, "large_file"),
    (0x8, "huge_file"),
    (0x10, "uninit_bg"),
    (0x20, "dir_nlink"),
    (0x40, "extra_isize"),
    (0x80, "snapshot"),
    (0x100, "quota"),
    (0x400, "metadata_csum"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x4000, "shared_blocks"),
    (0x8000, "verity"),
    (0x1_0000, "orphan_present"),
];

/// Features that are not understood: where their bit is, and their name.
const UNSUPPORTED_INCOMPAT: [(u32, &str); 8] = [
    (0x1, "compression"),
    (0x8, "journal_dev"),
    (0x100, "mmp"),
    (0x400, "ea_inode"),
    (0x1000, "dirdata"),
    (0x8000, "inline_data"),
    (0x1_0000, "encrypt"),
    (0x2_0000, "casefold"),
];

/// Counts clusters where other file systems count blocks.
const BIGALLOC: u32 = 0x200;

const SPARSE_SUPER: u32 = 0x1;
const METADATA_CSUM: u32 = 0x400;
const SPARSE_SUPER2: u32 = 0x200;
const FILETYPE: u32 = 0x2;
const NEEDS_RECOVERY: u32 = 0x4;
const META_BG: u32 = 0x10;
const WIDE: u32 = 0x80;
const CSUM_SEED: u32 = 0x2000;

/// mke2fs makes no smaller groups; bounds the number of groups of a hostile file system.
const MIN_BLOCKS_PER_GROUP: u64 = 256;

/// What a superblock says.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that are free.
    pub free_blocks: u64,
    /// Bytes of a block: 1024, 2048 or 4096.
    pub block_size: u64,
    /// Inodes in all.
    pub inodes: u32,
    /// Inodes that are free.
    pub free_inodes: u32,
    /// The label; bytes that are no UTF-8 are replaced.
    pub label: String,
    /// The UUID.
    pub uuid: uuid::Uuid,
    /// The names of its features, as `dumpe2fs` calls them; a number for one that has no name.
    pub features: Vec<String>,
    /// Whether it was unmounted cleanly.
    pub clean: bool,
    /// Whether the kernel has found errors in it that no one has repaired yet.
    pub has_errors: bool,
    /// Whether its journal must be replayed.
    pub needs_recovery: bool,
    /// When it was made, seconds since 1970; 0 for never, as with all times here.
    pub created: u64,
    /// When it was written last.
    pub written: u64,
    /// When it was mounted last.
    pub mounted: u64,
    /// How often it was mounted since it was checked.
    pub mounts: u16,
    pub(crate) inodes_per_group: u32,
    pub(crate) inode_size: u16,
    pub(crate) descriptor_size: u16,
    pub(crate) seed: u32,
    pub(crate) first_data_block: u64,
    pub(crate) blocks_per_group: u64,
    /// The superblock as it is on the medium.
    pub(crate) raw: Vec<u8>,
    meta_bg: Option<u64>,
    backups: Backups,
    checksums: bool,
}

/// How names are hashed in an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// With signed characters, as nixflash has it, and this seed.
    Signed([u8; 16]),
    /// In another way, which is not looked at.
    Other,
}

/// Which groups have a copy of the superblock.
#[derive(Clone, Copy, Debug)]
enum Backups {
    All,
    Sparse,
    Two([u32; 2]),
}

impl Superblock {
    pub(crate) fn read(device: &impl ReadAt) -> Result<Self, Error> {
        let mut raw = [0; 1024];
        if device.size() < 2048 {
            return Err(Error::None);
        }
        device.read_exact_at(&mut raw, 1024).map_err(|source| Error::Io { offset: 1024, source })?;
        if le16(&raw, 0x38) != 0xef53 {
            return Err(Error::None);
        }
        let (compat, incompat, ro_compat) = (le32(&raw, 0x5c), le32(&raw, 0x60), le32(&raw, 0x64));
        let checksums = ro_compat & METADATA_CSUM != 0;
        if checksums {
            check_sum(&raw)?;
        }
        let features = features(compat, incompat, ro_compat)?;
        let wide = incompat & WIDE != 0;
        let high = |at: usize| if wide { u64::from(le32(&raw, at)) << 32 } else { 0 };
        let time = |at: usize, high: usize| u64::from(le32(&raw, at)) | u64::from(raw[high]) << 32;
        let log = le32(&raw, 0x18);
        let old = le32(&raw, 0x4c) == 0;
        let mut id = [0; 16];
        id.copy_from_slice(&raw[0x68..0x78]);
        let label: Vec<u8> = raw[0x78..0x88].iter().copied().take_while(|b| *b != 0).collect();
        let superblock = Self {
            blocks: u64::from(le32(&raw, 4)) | high(0x150),
            free_blocks: u64::from(le32(&raw, 0xc)) | high(0x158),
            block_size: if log <= 6 { 1024 << log } else { 0 },
            inodes: le32(&raw, 0),
            free_inodes: le32(&raw, 0x10),
            label: String::from_utf8_lossy(&label).into_owned(),
            uuid: uuid::Uuid::from_bytes(id),
            features,
            clean: le16(&raw, 0x3a) & 1 != 0,
            has_errors: le16(&raw, 0x3a) & 2 != 0,
            needs_recovery: incompat & NEEDS_RECOVERY != 0,
            created: time(0x108, 0x276),
            written: time(0x30, 0x274),
            mounted: time(0x2c, 0x275),
            mounts: le16(&raw, 0x34),
            inodes_per_group: le32(&raw, 0x28),
            inode_size: if old { 128 } else { le16(&raw, 0x58) },
            descriptor_size: if wide { le16(&raw, 0xfe) } else { 32 },
            seed: if incompat & CSUM_SEED != 0 { le32(&raw, 0x270) } else { checksum::file_system_seed(&id) },
            first_data_block: u64::from(le32(&raw, 0x14)),
            blocks_per_group: u64::from(le32(&raw, 0x20)),
            meta_bg: (incompat & META_BG != 0).then(|| u64::from(le32(&raw, 0x104))),
            backups: match (compat & SPARSE_SUPER2 != 0, ro_compat & SPARSE_SUPER != 0) {
                (true, _) => Backups::Two([le32(&raw, 0x24c), le32(&raw, 0x250)]),
                (false, true) => Backups::Sparse,
                (false, false) => Backups::All,
            },
            checksums,
            raw: raw.to_vec(),
        };
        superblock.check_sizes(device.size(), log)?;
        superblock.check_groups()?;
        Ok(superblock)
    }

    fn check_sizes(&self, device: u64, log: u32) -> Result<(), Error> {
        let damaged = |what: String| Err(Error::Damaged(what));
        match self.block_size {
            1024 | 2048 | 4096 => {}
            0 => return damaged(format!("the size of its blocks is said to be 2^{}", u64::from(log) + 10)),
            size => return Err(Error::Feature(format!("blocks of {size} bytes"))),
        }
        let bytes = self.blocks.checked_mul(self.block_size);
        if self.blocks == 0 || bytes.is_none_or(|bytes| bytes > device) {
            return damaged(format!(
                "it claims {} blocks of {}, the partition has {device} bytes",
                self.blocks, self.block_size
            ));
        }
        let first = u64::from(self.block_size == 1024);
        if self.first_data_block != first {
            return damaged(format!("its first block is {}, expected {first}", self.first_data_block));
        }
        let inode_size = u64::from(self.inode_size);
        if !inode_size.is_power_of_two() || !(128..=self.block_size).contains(&inode_size) {
            return damaged(format!("its inodes have {inode_size} bytes"));
        }
        let narrow = if self.descriptor_size == 32 { 32 } else { 64 };
        let size = self.descriptor_size;
        if size < narrow || !size.is_power_of_two() || u64::from(size) > self.block_size {
            return damaged(format!("its group descriptors have {size} bytes"));
        }
        Ok(())
    }

    fn check_groups(&self) -> Result<(), Error> {
        let damaged = |what: String| Err(Error::Damaged(what));
        let bits = 8 * self.block_size;
        if !(MIN_BLOCKS_PER_GROUP..=bits).contains(&self.blocks_per_group) {
            return damaged(format!(
                "its groups have {} blocks, expected {MIN_BLOCKS_PER_GROUP} to {bits}",
                self.blocks_per_group
            ));
        }
        let per_group = u64::from(self.inodes_per_group);
        if !(1..=bits).contains(&per_group) {
            return damaged(format!("its groups have {per_group} inodes, expected 1 to {bits}"));
        }
        let groups = self.groups();
        if groups.checked_mul(per_group) != Some(u64::from(self.inodes)) {
            return damaged(format!("it claims {} inodes in {groups} groups of {per_group}", self.inodes));
        }
        if u64::from(self.inodes) * u64::from(self.inode_size) > self.bytes() {
            return damaged(format!("its {} inodes do not fit into its {} blocks", self.inodes, self.blocks));
        }
        Ok(())
    }

    /// How many groups there are.
    pub(crate) fn groups(&self) -> u64 {
        self.blocks.saturating_sub(self.first_data_block).div_ceil(self.blocks_per_group)
    }

    /// Whether entries of directories say what they lead to.
    pub(crate) fn types_entries(&self) -> bool {
        le32(&self.raw, 0x60) & FILETYPE != 0
    }

    /// How names are hashed.
    pub(crate) fn hashing(&self) -> Hashing {
        let mut seed = [0; 16];
        seed.copy_from_slice(&self.raw[0xec..0xfc]);
        match le32(&self.raw, 0x160) & 3 {
            1 => Hashing::Signed(seed),
            _ => Hashing::Other,
        }
    }

    /// The inode of the journal and its device, as the superblock has them.
    pub(crate) fn journal(&self) -> (u32, u32) {
        (le32(&self.raw, 0xe0), le32(&self.raw, 0xe4))
    }

    /// Whether metadata carry checksums.
    pub(crate) const fn has_checksums(&self) -> bool {
        self.checksums
    }

    /// Where block `n` of the group descriptors is.
    pub(crate) fn descriptor_block(&self, n: u64) -> u64 {
        match self.meta_bg {
            Some(first_meta) if n >= first_meta => {
                // With meta_bg a block of descriptors is in the first group of those that it describes.
                let group = n.saturating_mul(self.block_size / u64::from(self.descriptor_size));
                let start = group.saturating_mul(self.blocks_per_group).saturating_add(self.first_data_block);
                start.saturating_add(u64::from(self.has_backup(group)))
            }
            _ => self.first_data_block.saturating_add(1).saturating_add(n),
        }
    }

    fn has_backup(&self, group: u64) -> bool {
        match self.backups {
            Backups::All => true,
            Backups::Sparse => geometry::has_backup(group),
            Backups::Two(groups) => group == 0 || groups.iter().any(|backup| u64::from(*backup) == group),
        }
    }

    /// The length of the file system in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        // Checked when it was read.
        self.blocks.saturating_mul(self.block_size)
    }
}

fn check_sum(raw: &[u8; 1024]) -> Result<(), Error> {
    let kind = raw[0x175];
    if kind != 1 {
        return Err(Error::Feature(format!("checksums of type {kind}")));
    }
    let (stored, computed) = (le32(raw, 0x3fc), checksum::update(u32::MAX, &raw[..0x3fc]));
    if stored != computed {
        return Err(Error::Checksum { what: "the superblock".to_owned(), stored, computed });
    }
    Ok(())
}

/// The names of the features; an error for one without which reading goes wrong.
fn features(compat: u32, incompat: u32, ro_compat: u32) -> Result<Vec<String>, Error> {
    let unknown = |bits: u32, names: &[(u32, &str)]| names.iter().fold(bits, |left, (bit, _)| left & !bit);
    if let Some((_, name)) = UNSUPPORTED_INCOMPAT.iter().find(|(bit, _)| incompat & bit != 0) {
        return Err(Error::Feature((*name).to_owned()));
    }
    if ro_compat & BIGALLOC != 0 {
        return Err(Error::Feature("bigalloc".to_owned()));
    }
    let foreign = unknown(incompat, &INCOMPAT);
    if foreign != 0 {
        return Err(Error::Feature(format!("incompat {foreign:#x}")));
    }
    let sets = [
        ("compat", compat, &COMPAT[..]),
        ("incompat", incompat, &INCOMPAT[..]),
        ("ro_compat", ro_compat, &RO_COMPAT[..]),
    ];
    let mut found = Vec::new();
    for (set, bits, names) in sets {
        found.extend(names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| (*name).to_owned()));
        let rest = unknown(bits, names);
        if rest != 0 {
            found.push(format!("{set} {rest:#x}"));
        }
    }
    Ok(found)
}

/// How many blocks hold that many bytes.
pub(crate) const fn blocks_of(bytes: u64, block_size: u64) -> u64 {
    bytes.div_ceil(block_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_named_or_refused_by_name() {
        assert_eq!(
            features(0x3c, 0x242, 0x46b).unwrap().join(" "),
            "has_journal ext_attr resize_inode dir_index filetype extent flex_bg sparse_super large_file huge_file dir_nlink extra_isize metadata_csum"
        );
        assert_eq!(features(1 << 31, 2, 0).unwrap(), ["compat 0x80000000", "filetype"]);
        for (incompat, ro_compat, name) in [
            (0x8000, 0, "inline_data"),
            (0x1_0000, 0, "encrypt"),
            (0x2_0000, 0, "casefold"),
            (0, 0x200, "bigalloc"),
            (1 << 30, 0, "incompat 0x40000000"),
        ] {
            let error = features(0, incompat, ro_compat).unwrap_err().to_string();
            assert_eq!(error, format!("the ext4 feature {name} is not supported"));
        }
    }
}
