//! The block bitmaps of ext2, ext3 and ext4.
//!
//! A block bitmap has a bit for each block of its group, set where it is in use.

use super::ondisk::feature::{
    COMPAT_SPARSE_SUPER2, Features, INCOMPAT_64BIT, INCOMPAT_CASEFOLD, INCOMPAT_CSUM_SEED, INCOMPAT_EA_INODE,
    INCOMPAT_ENCRYPT, INCOMPAT_EXTENTS, INCOMPAT_FILETYPE, INCOMPAT_FLEX_BG, INCOMPAT_INLINE_DATA,
    INCOMPAT_LARGEDIR, RO_COMPAT_BIGALLOC, RO_COMPAT_GDT_CSUM, RO_COMPAT_METADATA_CSUM,
    RO_COMPAT_SPARSE_SUPER,
};
use super::ondisk::group::{
    self, BG_BLOCK_BITMAP, BG_BLOCK_BITMAP_CSUM, BG_CHECKSUM, BG_FLAGS, BG_INODE_BITMAP, BG_INODE_TABLE,
    BG_ITABLE_UNUSED, BLOCK_UNINIT, INODE_ZEROED,
};
use super::ondisk::superblock::{self, ERROR_FS, VALID_FS};
use crate::format::disk::usage::{Run, Usage, Want};
use crate::ints;
use std::collections::BTreeMap;

/// Features with which block bitmaps mean what they say here.
const KNOWN_INCOMPAT: u32 = INCOMPAT_FILETYPE
    | INCOMPAT_EXTENTS
    | INCOMPAT_64BIT
    | INCOMPAT_FLEX_BG
    | INCOMPAT_EA_INODE
    | INCOMPAT_CSUM_SEED
    | INCOMPAT_LARGEDIR
    | INCOMPAT_INLINE_DATA
    | INCOMPAT_ENCRYPT
    | INCOMPAT_CASEFOLD;
/// The largest blocks have 1024 << this many bytes.
const MAX_LOG_BLOCK_SIZE: u32 = 2;
/// Descriptors that are taken in, in bytes: 16 TiB of groups of 128 MiB, with 64 bytes each.
const MAX_DESCRIPTORS: u64 = 8 << 20;
/// Bitmaps that are kept before their groups come, in bytes.
const MAX_BITMAPS: usize = 16 << 20;

/// What is known of one group.
#[derive(Clone, Copy)]
struct Group {
    bitmap: u64,
    /// The checksum of the bitmap, as it is stored, if there is one.
    sum: Option<u32>,
    uninit: bool,
}

/// The maps of an ext file system.
pub struct Ext4 {
    block: u64,
    blocks: u64,
    first: u64,
    per_group: u64,
    inodes_per_group: u64,
    inode: u64,
    descriptor: u64,
    /// Blocks of a backup: superblock, descriptors and what is reserved for more.
    backup: u64,
    backups_everywhere: bool,
    has_sums: bool,
    has_unused: bool,
    seed: u32,
    groups: Vec<Group>,
    /// Bitmaps and tables, as blocks from and to, sorted.
    metadata: Vec<(u64, u64)>,
    /// Blocks of inode tables that were never written, from and to, sorted.
    unused: Vec<(u64, u64)>,
    bitmaps: BTreeMap<u64, Vec<u8>>,
    held: usize,
}

impl Ext4 {
    /// Where the superblock is.
    pub const SUPERBLOCK: Want = Want { offset: superblock::OFFSET, len: ints::to_u64(superblock::LEN) };

    /// Looks at a superblock. `None` if there is none, or if its maps may not be relied on.
    #[must_use]
    pub fn new(superblock: &[u8], partition: u64) -> Option<Self> {
        let s = superblock.get(..superblock::LEN)?;
        let features = Features::of(s);
        let known = features.incompat & !KNOWN_INCOMPAT == 0 && !features.ro_compat(RO_COMPAT_BIGALLOC);
        let log = superblock::S_LOG_BLOCK_SIZE.get(s);
        // Not clean, or with a journal to replay, the maps may be about to change.
        let is_clean = superblock::S_STATE.get(s) & (VALID_FS | ERROR_FS) == VALID_FS;
        if superblock::S_MAGIC.get(s) != superblock::MAGIC || !is_clean || !known || log > MAX_LOG_BLOCK_SIZE
        {
            return None;
        }
        let has_sums = features.ro_compat(RO_COMPAT_METADATA_CSUM);
        if has_sums && superblock::sum(s) != superblock::S_CHECKSUM.get(s) {
            return None;
        }
        let wide = features.incompat(INCOMPAT_64BIT);
        let old = superblock::S_REV_LEVEL.get(s) == superblock::GOOD_OLD_REV;
        let block = 1024 << log;
        let high = if wide { u64::from(superblock::S_BLOCKS_COUNT_HI.get(s)) << 32 } else { 0 };
        let mut map = Self {
            block,
            blocks: u64::from(superblock::S_BLOCKS_COUNT_LO.get(s)) | high,
            first: superblock::S_FIRST_DATA_BLOCK.get(s).into(),
            per_group: superblock::S_BLOCKS_PER_GROUP.get(s).into(),
            inodes_per_group: superblock::S_INODES_PER_GROUP.get(s).into(),
            inode: if old { superblock::GOOD_OLD_INODE_SIZE } else { superblock::S_INODE_SIZE.get(s) }.into(),
            descriptor: if wide { superblock::S_DESC_SIZE.get(s).into() } else { group::LEN },
            backup: 0,
            backups_everywhere: !features.ro_compat(RO_COMPAT_SPARSE_SUPER)
                || features.compat(COMPAT_SPARSE_SUPER2),
            has_sums,
            has_unused: has_sums || features.ro_compat(RO_COMPAT_GDT_CSUM),
            seed: superblock::seed(s),
            groups: Vec::new(),
            metadata: Vec::new(),
            unused: Vec::new(),
            bitmaps: BTreeMap::new(),
            held: 0,
        };
        map.backup =
            1 + map.descriptors().len.div_ceil(block) + u64::from(superblock::S_RESERVED_GDT_BLOCKS.get(s));
        map.is_sound(partition).then_some(map)
    }

    fn is_sound(&self, partition: u64) -> bool {
        let bits = 8 * self.block;
        (self.block == 1024) == (self.first == 1)
            && self.first <= 1
            && self.blocks > self.first
            && self.blocks.checked_mul(self.block).is_some_and(|bytes| bytes <= partition)
            && (256..=bits).contains(&self.per_group)
            && self.per_group.is_multiple_of(8)
            && (1..=bits).contains(&self.inodes_per_group)
            && (128..=self.block).contains(&self.inode)
            && (self.descriptor == 32 || self.descriptor >= 64 && self.descriptor <= self.block)
            && self.descriptor.is_power_of_two()
            && self.descriptors().len <= MAX_DESCRIPTORS
    }

    fn groups(&self) -> u64 {
        self.blocks.saturating_sub(self.first).div_ceil(self.per_group.max(1))
    }

    /// Where the descriptors are.
    #[must_use]
    pub fn descriptors(&self) -> Want {
        let offset = (self.first + 1).saturating_mul(self.block);
        Want { offset, len: self.groups().saturating_mul(self.descriptor) }
    }

    /// Takes the descriptors; wants the bitmaps.
    fn take_descriptors(&mut self, bytes: &[u8]) -> Vec<Want> {
        let (mut groups, mut metadata, mut unused) = (Vec::new(), Vec::new(), Vec::new());
        for (number, d) in (0..).zip(bytes.chunks_exact(ints::to_usize(self.descriptor))) {
            if self.has_sums && group::sum(self.seed, number, d) != BG_CHECKSUM.get(d) {
                return Vec::new();
            }
            let [bitmap, inodes, table] =
                [BG_BLOCK_BITMAP, BG_INODE_BITMAP, BG_INODE_TABLE].map(|place| place.get(d));
            let tables = (self.inodes_per_group * self.inode).div_ceil(self.block);
            let within = [(bitmap, 1), (inodes, 1), (table, tables)];
            if within.iter().any(|(at, len)| at.checked_add(*len).is_none_or(|end| end > self.blocks)) {
                return Vec::new();
            }
            metadata.extend(within.map(|(at, len)| (at, at + len)));
            let flags = BG_FLAGS.get(d);
            groups.push(Group {
                bitmap,
                sum: self.has_sums.then(|| BG_BLOCK_BITMAP_CSUM.get(d)),
                uninit: self.has_unused && flags & BLOCK_UNINIT != 0,
            });
            let spare = u64::from(BG_ITABLE_UNUSED.get(d));
            if self.has_unused && flags & INODE_ZEROED == 0 && spare <= self.inodes_per_group {
                let used = ((self.inodes_per_group - spare) * self.inode).div_ceil(self.block);
                unused.push((table + used, table + tables));
            }
        }
        metadata.sort_unstable();
        unused.sort_unstable();
        let mut wants: Vec<_> = groups
            .iter()
            .filter(|group| !group.uninit)
            .map(|group| Want { offset: group.bitmap * self.block, len: self.block })
            .collect();
        wants.sort_unstable();
        wants.dedup();
        (self.groups, self.metadata, self.unused) = (groups, metadata, unused);
        wants
    }

    fn take_bitmap(&mut self, offset: u64, bytes: &[u8]) {
        let at = offset / self.block;
        let covered = &bytes[..ints::to_usize(self.per_group / 8)];
        let sum = group::bitmap_sum(self.seed, covered, ints::to_usize(self.descriptor));
        let mine = (0u64..).zip(&self.groups).filter(|(_, group)| group.bitmap == at && !group.uninit);
        let sound = mine.filter(|(_, group)| group.sum.is_none_or(|stored| sum == stored));
        let numbers: Vec<u64> = sound.map(|(number, _)| number).collect();
        for number in numbers {
            if self.held + bytes.len() <= MAX_BITMAPS {
                self.held += bytes.len();
                self.bitmaps.insert(number, bytes.to_vec());
            }
        }
    }

    fn matters(&self, block: u64) -> bool {
        if block < self.first || block >= self.blocks {
            return true;
        }
        if is_within(&self.unused, block) {
            return false;
        }
        let (group, bit) = ((block - self.first) / self.per_group, (block - self.first) % self.per_group);
        let Some(known) = self.groups.get(ints::to_usize(group)) else { return true };
        if known.uninit {
            let backup = self.backups_everywhere || group::has_backup(group);
            return backup && bit < self.backup || is_within(&self.metadata, block);
        }
        let byte = self.bitmaps.get(&group).and_then(|map| map.get(ints::to_usize(bit / 8)));
        byte.is_none_or(|byte| byte >> (bit % 8) & 1 != 0)
    }
}

/// Whether a number is in one of the sorted ranges. Where they overlap, the answer is that of the last to begin.
fn is_within(ranges: &[(u64, u64)], number: u64) -> bool {
    let before = ranges.partition_point(|(from, _)| *from <= number);
    before.checked_sub(1).is_some_and(|last| number < ranges[last].1)
}

impl Usage for Ext4 {
    fn take(&mut self, want: Want, bytes: &[u8]) -> Vec<Want> {
        if want == self.descriptors() && self.groups.is_empty() {
            return self.take_descriptors(bytes);
        }
        self.take_bitmap(want.offset, bytes);
        Vec::new()
    }

    fn run(&self, offset: u64) -> Run {
        let block = offset / self.block;
        let matters = self.matters(block);
        let group = block.saturating_sub(self.first) / self.per_group;
        let limit = ((group + 1) * self.per_group + self.first).min(self.blocks.max(block + 1));
        let end = (block + 1..limit).find(|other| self.matters(*other) != matters).unwrap_or(limit);
        Run { matters, end: if block >= self.blocks { u64::MAX } else { end * self.block } }
    }

    fn forget(&mut self, offset: u64) {
        let group = (offset / self.block).saturating_sub(self.first) / self.per_group;
        while let Some(first) = self.bitmaps.first_entry().filter(|first| *first.key() < group) {
            self.held -= first.remove().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    proptest! {
        #[test]
        fn any_maps_are_taken_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 4096), patches in proptest::collection::vec((0usize..0x180, any::<u8>()), 0..6)) {
            let mut s = vec![0; 1024];
            for (at, value) in [(4usize, 8192u32), (0x18, 2), (0x20, 4096), (0x28, 512), (0x4c, 1), (0x5c, 0), (0x60, 0xc2)] {
                s[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            s[0x38..0x3c].copy_from_slice(&[0x53, 0xef, 1, 0]);
            s[0x58..0x5a].copy_from_slice(&[0, 1]);
            s[0xfe] = 64;
            for (at, value) in patches {
                s[at] = value;
            }
            if let Some(mut map) = Ext4::new(&s, 1 << 40) {
                let want = map.descriptors();
                bytes.resize(ints::to_usize(want.len), 0);
                bytes[0x10..0x20].fill(0);
                for want in map.take(want, &bytes) {
                    map.take(want, &vec![0x5a; ints::to_usize(want.len)]);
                }
                let mut at = 0;
                for _ in 0..50 {
                    let run = map.run(at);
                    assert!(run.end > at);
                    at = run.end.min(1 << 50);
                }
                map.forget(at);
            }
        }
    }
}
