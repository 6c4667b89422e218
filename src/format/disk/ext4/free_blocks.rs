//! The block bitmaps of ext2, ext3 and ext4.
//!
//! ```text
//! superblock   04 blocks  14 first data block  18 log block size  20 blocks per group  28 inodes per group
//!              3a state u16  58 inode size u16  5c 60 64 features  68 UUID  ce reserved GDT blocks u16
//!              fe descriptor size u16  150 blocks high  270 checksum seed  3fc checksum
//! descriptor   00 block bitmap  04 inode bitmap  08 inode table  12 flags u16  18 bitmap checksum u16
//!              1c unused inodes u16  1e checksum u16; from 20 the high halves, 32 unused inodes high u16
//! ```
//! Source: kernel `fs/ext4/ext4.h`; a block bitmap has a bit for each block of its group, set where it is in use.

use super::ondisk::checksum;
use super::write::geometry;
use crate::format::disk::usage::{Run, Usage, Want, le16, le32};
use crate::num;
use std::collections::BTreeMap;

const MAGIC: u16 = 0xef53;
const CLEAN: u16 = 1;
/// Features with which block bitmaps mean what they say here.
const KNOWN_INCOMPAT: u32 =
    0x2 | 0x40 | 0x80 | 0x200 | 0x2000 | 0x4000 | 0x400 | 0x8000 | 0x1_0000 | 0x2_0000;
const WIDE: u32 = 0x80;
const SEED: u32 = 0x2000;
const SPARSE_SUPER2: u32 = 0x200;
const SPARSE_SUPER: u32 = 0x1;
const BIGALLOC: u32 = 0x200;
const GDT_CSUM: u32 = 0x10;
const METADATA_CSUM: u32 = 0x400;
const BLOCK_UNINIT: u16 = 2;
const INODE_ZEROED: u16 = 4;
/// Descriptors that are taken in, in bytes: 16 TiB of groups of 128 MiB, with 64 bytes each.
const MAX_DESCRIPTORS: u64 = 8 << 20;
/// Bitmaps that are kept before their groups come, in bytes.
const MAX_BITMAPS: usize = 16 << 20;

/// What is known of one group.
#[derive(Clone, Copy)]
struct Group {
    bitmap: u64,
    /// The checksum of the bitmap, and which of its bits are stored.
    sum: Option<(u32, u32)>,
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
    pub const SUPERBLOCK: Want = Want { offset: 1024, len: 1024 };

    /// Looks at a superblock. `None` if there is none, or if its maps may not be relied on.
    #[must_use]
    pub fn new(superblock: &[u8], partition: u64) -> Option<Self> {
        let s = superblock.get(..1024)?;
        let (compat, incompat, ro) = (le32(s, 0x5c), le32(s, 0x60), le32(s, 0x64));
        let known = incompat & !KNOWN_INCOMPAT == 0 && ro & BIGALLOC == 0;
        // Not clean, or with a journal to replay, the maps may be about to change.
        if le16(s, 0x38) != MAGIC || le16(s, 0x3a) & 3 != CLEAN || !known || le32(s, 0x18) > 2 {
            return None;
        }
        let has_sums = ro & METADATA_CSUM != 0;
        if has_sums && checksum::update(u32::MAX, &s[..0x3fc]) != le32(s, 0x3fc) {
            return None;
        }
        let wide = incompat & WIDE != 0;
        let block = 1024 << le32(s, 0x18);
        let high = if wide { u64::from(le32(s, 0x150)) << 32 } else { 0 };
        let mut id = [0; 16];
        id.copy_from_slice(&s[0x68..0x78]);
        let mut map = Self {
            block,
            blocks: u64::from(le32(s, 4)) | high,
            first: u64::from(le32(s, 0x14)),
            per_group: le32(s, 0x20).into(),
            inodes_per_group: le32(s, 0x28).into(),
            inode: if le32(s, 0x4c) == 0 { 128 } else { le16(s, 0x58).into() },
            descriptor: if wide { le16(s, 0xfe).into() } else { 32 },
            backup: 0,
            backups_everywhere: ro & SPARSE_SUPER == 0 || compat & SPARSE_SUPER2 != 0,
            has_sums,
            has_unused: has_sums || ro & GDT_CSUM != 0,
            seed: if incompat & SEED != 0 { le32(s, 0x270) } else { checksum::file_system_seed(&id) },
            groups: Vec::new(),
            metadata: Vec::new(),
            unused: Vec::new(),
            bitmaps: BTreeMap::new(),
            held: 0,
        };
        map.backup = 1 + map.descriptors().len.div_ceil(block) + u64::from(le16(s, 0xce));
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
        for (number, d) in (0..).zip(bytes.chunks_exact(num::to_usize(self.descriptor))) {
            if self.has_sums && self.descriptor_sum(number, d) != le16(d, 0x1e) {
                return Vec::new();
            }
            let wide = self.descriptor >= 64;
            let high = |at: usize| if wide { u64::from(le32(d, at)) << 32 } else { 0 };
            let [bitmap, inodes, table] =
                [(0, 0x20), (4, 0x24), (8, 0x28)].map(|(low, at)| u64::from(le32(d, low)) | high(at));
            let tables = (self.inodes_per_group * self.inode).div_ceil(self.block);
            let within = [(bitmap, 1), (inodes, 1), (table, tables)];
            if within.iter().any(|(at, len)| at.checked_add(*len).is_none_or(|end| end > self.blocks)) {
                return Vec::new();
            }
            metadata.extend(within.map(|(at, len)| (at, at + len)));
            let flags = le16(d, 0x12);
            let sum = if wide && self.descriptor >= 0x3a {
                (u32::from(le16(d, 0x18)) | u32::from(le16(d, 0x38)) << 16, u32::MAX)
            } else {
                (le16(d, 0x18).into(), 0xffff)
            };
            groups.push(Group {
                bitmap,
                sum: self.has_sums.then_some(sum),
                uninit: self.has_unused && flags & BLOCK_UNINIT != 0,
            });
            let high = if wide { u64::from(le16(d, 0x32)) << 16 } else { 0 };
            let spare = u64::from(le16(d, 0x1c)) | high;
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

    fn descriptor_sum(&self, number: u32, d: &[u8]) -> u16 {
        let seed = checksum::update(self.seed, &number.to_le_bytes());
        let sum = checksum::update(checksum::update(seed, &d[..0x1e]), &[0, 0]);
        checksum::low16(checksum::update(sum, &d[0x20..]))
    }

    fn take_bitmap(&mut self, offset: u64, bytes: &[u8]) {
        let at = offset / self.block;
        let sum = checksum::update(self.seed, &bytes[..num::to_usize(self.per_group / 8)]);
        let mine = (0u64..).zip(&self.groups).filter(|(_, group)| group.bitmap == at && !group.uninit);
        let sound = mine.filter(|(_, group)| group.sum.is_none_or(|(stored, mask)| sum & mask == stored));
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
        let Some(known) = self.groups.get(num::to_usize(group)) else { return true };
        if known.uninit {
            let backup = self.backups_everywhere || geometry::has_backup(group);
            return backup && bit < self.backup || is_within(&self.metadata, block);
        }
        let byte = self.bitmaps.get(&group).and_then(|map| map.get(num::to_usize(bit / 8)));
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
                bytes.resize(num::to_usize(want.len), 0);
                bytes[0x10..0x20].fill(0);
                for want in map.take(want, &bytes) {
                    map.take(want, &vec![0x5a; num::to_usize(want.len)]);
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
