//! The superblock, and what it says about where everything is.

use super::error::Error;
use crate::bytes::{Le32, U8};
use crate::format::disk::ext4::ondisk::feature::{
    self, COMPAT_SPARSE_SUPER2, Features, INCOMPAT_64BIT, INCOMPAT_CASEFOLD, INCOMPAT_COMPRESSION,
    INCOMPAT_DIRDATA, INCOMPAT_EA_INODE, INCOMPAT_ENCRYPT, INCOMPAT_FILETYPE, INCOMPAT_INLINE_DATA,
    INCOMPAT_JOURNAL_DEV, INCOMPAT_META_BG, INCOMPAT_MMP, INCOMPAT_RECOVER, RO_COMPAT_BIGALLOC,
    RO_COMPAT_METADATA_CSUM, RO_COMPAT_SPARSE_SUPER,
};
use crate::format::disk::ext4::ondisk::{group, superblock as ondisk};
use crate::ints;
use crate::stream::ReadAt;

/// Features without which reading goes wrong, and that are not understood.
const UNSUPPORTED_INCOMPAT: u32 = INCOMPAT_COMPRESSION
    | INCOMPAT_JOURNAL_DEV
    | INCOMPAT_MMP
    | INCOMPAT_EA_INODE
    | INCOMPAT_DIRDATA
    | INCOMPAT_INLINE_DATA
    | INCOMPAT_ENCRYPT
    | INCOMPAT_CASEFOLD;
const UNSUPPORTED_RO_COMPAT: u32 = RO_COMPAT_BIGALLOC;

/// Bytes of a group descriptor without high halves.
const NARROW: u16 = 32;
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
    /// The UUID, which mounts may name.
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
        let mut raw = [0; ondisk::LEN];
        if device.size() < ondisk::OFFSET + ints::to_u64(ondisk::LEN) {
            return Err(Error::None);
        }
        let offset = ondisk::OFFSET;
        device.read_exact_at(&mut raw, offset).map_err(|source| Error::Io { offset, source })?;
        if ondisk::S_MAGIC.get(&raw) != ondisk::MAGIC {
            return Err(Error::None);
        }
        let features = Features::of(&raw);
        let checksums = features.ro_compat(RO_COMPAT_METADATA_CSUM);
        if checksums {
            check_sum(&raw)?;
        }
        let names = names(features)?;
        let wide = features.incompat(INCOMPAT_64BIT);
        let high = |field: Le32| if wide { u64::from(field.get(&raw)) << 32 } else { 0 };
        let time = |low: Le32, high: U8| u64::from(low.get(&raw)) | u64::from(high.get(&raw)) << 32;
        let log = ondisk::S_LOG_BLOCK_SIZE.get(&raw);
        let old = ondisk::S_REV_LEVEL.get(&raw) == ondisk::GOOD_OLD_REV;
        let id = ondisk::S_UUID.get(&raw);
        let label = ondisk::S_VOLUME_NAME.get(&raw);
        let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
        let state = ondisk::S_STATE.get(&raw);
        let superblock = Self {
            blocks: u64::from(ondisk::S_BLOCKS_COUNT_LO.get(&raw)) | high(ondisk::S_BLOCKS_COUNT_HI),
            free_blocks: u64::from(ondisk::S_FREE_BLOCKS_COUNT_LO.get(&raw))
                | high(ondisk::S_FREE_BLOCKS_COUNT_HI),
            block_size: if log <= 6 { 1024 << log } else { 0 },
            inodes: ondisk::S_INODES_COUNT.get(&raw),
            free_inodes: ondisk::S_FREE_INODES_COUNT.get(&raw),
            label: String::from_utf8_lossy(label).into_owned(),
            uuid: uuid::Uuid::from_bytes(id),
            features: names,
            clean: state & ondisk::VALID_FS != 0,
            has_errors: state & ondisk::ERROR_FS != 0,
            needs_recovery: features.incompat(INCOMPAT_RECOVER),
            created: time(ondisk::S_MKFS_TIME, ondisk::S_MKFS_TIME_HI),
            written: time(ondisk::S_WTIME, ondisk::S_WTIME_HI),
            mounted: time(ondisk::S_MTIME, ondisk::S_MTIME_HI),
            mounts: ondisk::S_MNT_COUNT.get(&raw),
            inodes_per_group: ondisk::S_INODES_PER_GROUP.get(&raw),
            inode_size: if old { ondisk::GOOD_OLD_INODE_SIZE } else { ondisk::S_INODE_SIZE.get(&raw) },
            descriptor_size: if wide { ondisk::S_DESC_SIZE.get(&raw) } else { NARROW },
            seed: ondisk::seed(&raw),
            first_data_block: ondisk::S_FIRST_DATA_BLOCK.get(&raw).into(),
            blocks_per_group: ondisk::S_BLOCKS_PER_GROUP.get(&raw).into(),
            meta_bg: features.incompat(INCOMPAT_META_BG).then(|| ondisk::S_FIRST_META_BG.get(&raw).into()),
            backups: match (features.compat(COMPAT_SPARSE_SUPER2), features.ro_compat(RO_COMPAT_SPARSE_SUPER))
            {
                (true, _) => Backups::Two(ondisk::S_BACKUP_BGS.map(|field| field.get(&raw))),
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
        let size = self.descriptor_size;
        if (size != NARROW && usize::from(size) < group::WIDE)
            || !size.is_power_of_two()
            || u64::from(size) > self.block_size
        {
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
        Features::of(&self.raw).incompat(INCOMPAT_FILETYPE)
    }

    /// How names are hashed.
    pub(crate) fn hashing(&self) -> Hashing {
        match ondisk::S_FLAGS.get(&self.raw) & ondisk::FLAGS_HASH {
            ondisk::FLAGS_SIGNED_HASH => Hashing::Signed(ondisk::S_HASH_SEED.get(&self.raw)),
            _ => Hashing::Other,
        }
    }

    /// The inode of the journal and its device, as the superblock has them.
    pub(crate) fn journal(&self) -> (u32, u32) {
        (ondisk::S_JOURNAL_INUM.get(&self.raw), ondisk::S_JOURNAL_DEV.get(&self.raw))
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
            Backups::Sparse => group::has_backup(group),
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

fn check_sum(raw: &[u8]) -> Result<(), Error> {
    let kind = ondisk::S_CHECKSUM_TYPE.get(raw);
    if kind != ondisk::CRC32C_CHKSUM {
        return Err(Error::Feature(format!("checksums of type {kind}")));
    }
    let (stored, computed) = (ondisk::S_CHECKSUM.get(raw), ondisk::sum(raw));
    if stored != computed {
        return Err(Error::Checksum { what: "the superblock".to_owned(), stored, computed });
    }
    Ok(())
}

/// The names of the features; an error for one without which reading goes wrong.
fn names(features: Features) -> Result<Vec<String>, Error> {
    let Features { compat, incompat, ro_compat } = features;
    let refused = [
        (incompat & UNSUPPORTED_INCOMPAT, &feature::INCOMPAT[..]),
        (ro_compat & UNSUPPORTED_RO_COMPAT, &feature::RO_COMPAT[..]),
    ];
    for (bits, table) in refused {
        if let Some((_, name)) = table.iter().find(|(bit, _)| bits & bit != 0) {
            return Err(Error::Feature((*name).to_owned()));
        }
    }
    let unknown = |bits: u32, table: &[(u32, &str)]| table.iter().fold(bits, |left, (bit, _)| left & !bit);
    let foreign = unknown(incompat, &feature::INCOMPAT);
    if foreign != 0 {
        return Err(Error::Feature(format!("incompat {foreign:#x}")));
    }
    let sets = [
        ("compat", compat, &feature::COMPAT[..]),
        ("incompat", incompat, &feature::INCOMPAT[..]),
        ("ro_compat", ro_compat, &feature::RO_COMPAT[..]),
    ];
    let mut found = Vec::new();
    for (set, bits, table) in sets {
        found.extend(table.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| (*name).to_owned()));
        let rest = unknown(bits, table);
        if rest != 0 {
            found.push(format!("{set} {rest:#x}"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(compat: u32, incompat: u32, ro_compat: u32) -> Features {
        Features { compat, incompat, ro_compat }
    }

    #[test]
    fn features_are_named_or_refused_by_name() {
        assert_eq!(
            names(Features::MADE).unwrap().join(" "),
            "has_journal ext_attr resize_inode dir_index filetype extent flex_bg sparse_super large_file huge_file dir_nlink extra_isize metadata_csum"
        );
        assert_eq!(names(words(1 << 31, 2, 0)).unwrap(), ["compat 0x80000000", "filetype"]);
        for (incompat, ro_compat, name) in [
            (0x8000, 0, "inline_data"),
            (0x1_0000, 0, "encrypt"),
            (0x2_0000, 0, "casefold"),
            (0, 0x200, "bigalloc"),
            (1 << 30, 0, "incompat 0x40000000"),
        ] {
            let error = names(words(0, incompat, ro_compat)).unwrap_err().to_string();
            assert_eq!(error, format!("the ext4 feature {name} is not supported"));
        }
    }
}
