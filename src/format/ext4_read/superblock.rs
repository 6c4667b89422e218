//! The superblock, and what it says about where everything is.

use super::{Error, le16, le32};
use crate::format::ext4::checksum;
use crate::stream::ReadAt;

/// Features that are understood, or that do not matter to a reader: bit and name.
const COMPAT: [(u32, &str); 8] = [
    (0x4, "has_journal"),
    (0x8, "ext_attr"),
    (0x10, "resize_inode"),
    (0x20, "dir_index"),
    (0x200, "sparse_super2"),
    (0x400, "fast_commit"),
    (0x1000, "orphan_file"),
    (0x1, "dir_prealloc"),
];
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
const RO_COMPAT: [(u32, &str); 9] = [
    (0x1, "sparse_super"),
    (0x2, "large_file"),
    (0x8, "huge_file"),
    (0x10, "uninit_bg"),
    (0x20, "dir_nlink"),
    (0x40, "extra_isize"),
    (0x100, "quota"),
    (0x400, "metadata_csum"),
    (0x2000, "project"),
];
/// Names of features that are refused.
const UNSUPPORTED: [(u32, &str); 7] = [
    (0x1, "compression"),
    (0x8, "journal_dev"),
    (0x100, "mmp"),
    (0x400, "ea_inode"),
    (0x8000, "inline_data"),
    (0x1_0000, "encrypt"),
    (0x2_0000, "casefold"),
];

/// What a superblock says.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that are free.
    pub free_blocks: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// Inodes in all.
    pub inodes: u32,
    /// Inodes that are free.
    pub free_inodes: u32,
    /// The label.
    pub label: String,
    /// The UUID.
    pub uuid: uuid::Uuid,
    /// The names of its features.
    pub features: Vec<&'static str>,
    /// Whether it was unmounted cleanly.
    pub clean: bool,
    /// Whether its journal must be replayed.
    pub needs_recovery: bool,
    /// When it was mounted last, seconds since 1970; 0 for never.
    pub mounted: u32,
    /// How often it was mounted.
    pub mounts: u16,
    pub(super) inodes_per_group: u32,
    pub(super) inode_size: u16,
    pub(super) descriptor_size: u16,
    pub(super) seed: u32,
    first_data_block: u64,
    blocks_per_group: u64,
    meta_bg: Option<u64>,
    checksums: bool,
}

impl Superblock {
    pub(super) fn read(device: &impl ReadAt) -> Result<Self, Error> {
        let mut raw = [0; 1024];
        if device.size() < 2048 {
            return Err(Error::None);
        }
        device.read_exact_at(&mut raw, 1024).map_err(|source| Error::Io { offset: 1024, source })?;
        if le16(&raw, 0x38) != 0xef53 {
            return Err(Error::None);
        }
        let (compat, incompat, ro_compat) = (le32(&raw, 0x5c), le32(&raw, 0x60), le32(&raw, 0x64));
        let features = features(compat, incompat, ro_compat)?;
        let checksums = ro_compat & 0x400 != 0;
        if checksums && checksum::update(u32::MAX, &raw[..0x3fc]) != le32(&raw, 0x3fc) {
            return Err(Error::Damaged("the superblock has a wrong checksum".to_owned()));
        }
        let wide = incompat & 0x80 != 0;
        let high = |at: usize| if wide { u64::from(le32(&raw, at)) << 32 } else { 0 };
        let log = le32(&raw, 0x18);
        let old = le32(&raw, 0x4c) == 0;
        let mut id = [0; 16];
        id.copy_from_slice(&raw[0x68..0x78]);
        let label: Vec<u8> = raw[0x78..0x88].iter().copied().take_while(|b| *b != 0).collect();
        let seed = if incompat & 0x2000 != 0 { le32(&raw, 0x270) } else { checksum::file_system_seed(&id) };
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
            needs_recovery: incompat & 4 != 0,
            mounted: le32(&raw, 0x2c),
            mounts: le16(&raw, 0x34),
            inodes_per_group: le32(&raw, 0x28),
            inode_size: if old { 128 } else { le16(&raw, 0x58) },
            descriptor_size: if wide { le16(&raw, 0xfe) } else { 32 },
            seed,
            first_data_block: u64::from(le32(&raw, 0x14)),
            blocks_per_group: u64::from(le32(&raw, 0x20)),
            meta_bg: (incompat & 0x10 != 0).then(|| u64::from(le32(&raw, 0x104))),
            checksums,
        };
        superblock.check(device.size())?;
        Ok(superblock)
    }

    fn check(&self, device: u64) -> Result<(), Error> {
        let damaged = |what: String| Err(Error::Damaged(what));
        if ![1024, 2048, 4096].contains(&self.block_size) {
            return damaged("the size of its blocks is none of 1024, 2048, 4096".to_owned());
        }
        let bytes = self.blocks.checked_mul(self.block_size);
        if bytes.is_none_or(|bytes| bytes > device) {
            return damaged(format!(
                "it claims {} blocks of {}, the partition has {device} bytes",
                self.blocks, self.block_size
            ));
        }
        if self.blocks_per_group == 0
            || self.blocks_per_group > 8 * self.block_size
            || self.inodes_per_group == 0
        {
            return damaged("the size of its groups makes no sense".to_owned());
        }
        let inode_size = u64::from(self.inode_size);
        if !inode_size.is_power_of_two() || !(128..=self.block_size).contains(&inode_size) {
            return damaged(format!("its inodes have {inode_size} bytes"));
        }
        if self.descriptor_size < 32
            || !self.descriptor_size.is_power_of_two()
            || u64::from(self.descriptor_size) > self.block_size
        {
            return damaged(format!("its group descriptors have {} bytes", self.descriptor_size));
        }
        Ok(())
    }

    /// Whether metadata carry checksums.
    pub(super) const fn has_checksums(&self) -> bool {
        self.checksums
    }

    /// Where block `n` of the group descriptors is.
    pub(super) fn descriptor_block(&self, n: u64) -> u64 {
        let first = self.first_data_block + 1;
        match self.meta_bg {
            Some(first_meta) if n >= first_meta => {
                // With meta_bg a block of descriptors is in the first group of those that it describes.
                let group = n.saturating_mul(self.block_size / u64::from(self.descriptor_size));
                let start = group.saturating_mul(self.blocks_per_group).saturating_add(self.first_data_block);
                start.saturating_add(u64::from(crate::format::ext4::geometry::has_backup(group)))
            }
            _ => first.saturating_add(n),
        }
    }

    /// The length of the file system in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.blocks * self.block_size
    }
}

fn features(compat: u32, incompat: u32, ro_compat: u32) -> Result<Vec<&'static str>, Error> {
    if let Some((_, name)) = UNSUPPORTED.iter().find(|(bit, _)| incompat & bit != 0) {
        return Err(Error::Feature((*name).to_owned()));
    }
    let known = INCOMPAT.iter().fold(0, |all, (bit, _)| all | bit);
    if incompat & !known != 0 {
        return Err(Error::Feature(format!("incompat 0x{:x}", incompat & !known)));
    }
    if ro_compat & 0x200 != 0 {
        return Err(Error::Feature("bigalloc".to_owned()));
    }
    let sets = [(compat, &COMPAT[..]), (incompat, &INCOMPAT[..]), (ro_compat, &RO_COMPAT[..])];
    let names = sets.iter().flat_map(|(bits, names)| names.iter().filter(move |(bit, _)| bits & bit != 0));
    Ok(names.map(|(_, name)| *name).collect())
}

/// How many blocks hold that many bytes.
pub(super) const fn blocks_of(bytes: u64, block_size: u64) -> u64 {
    bytes.div_ceil(block_size)
}
