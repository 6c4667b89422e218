//! How many groups, inodes and blocks of metadata a file system of a given length has, and where they are.
//!
//! ```text
//! group 0, powers of 3, 5, 7   superblock | group descriptors | reserved descriptor blocks
//! elsewhere                    data of the front, journal, directories, symlinks, other data: one cursor that only
//!                              moves forward
//! behind it                    block bitmaps, inode bitmaps, inode tables of 16 groups each (flex_bg); those of groups
//!                              that lie behind it all begin in their own
//! ```
//!
//! Where data of the front lies depends on nothing but itself: the first group's descriptors and what is reserved for
//! more are together as long in every file system of up to 1 TiB, and tables, whose length depends on how much there is
//! in all, come last.

use super::options::Error;
use crate::format::disk::ext4::ondisk::block::{
    BLOCK, DESCRIPTORS_PER_BLOCK, GROUP_BLOCKS, INODES_PER_BLOCK,
};
use crate::format::disk::ext4::ondisk::group::has_backup;
use crate::ints;

/// The binary logarithm of [`FLEX`].
pub const LOG_FLEX: u8 = 4;
/// Groups whose bitmaps and tables lie together.
const FLEX: u64 = 1 << LOG_FLEX;
/// A last group smaller than its metadata and this is left out, as mke2fs does.
const LAST_GROUP_SLACK: u64 = 50;
/// Descriptor blocks for 2 TiB: the growth that every file system is prepared for.
const GROWTH_DESCRIPTOR_BLOCKS: u64 = 128;
/// The most that the resize inode can hold.
const MAX_RESERVED: u64 = 1024;

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first block.
    pub start: u64,
    /// How many blocks it has.
    pub len: u64,
}

impl Run {
    /// The block after the last.
    pub const fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// The shape of a file system.
#[derive(Clone, Debug)]
pub struct Geometry {
    /// Blocks in all.
    pub blocks: u64,
    /// Groups in all.
    pub groups: u64,
    /// Inodes in a group.
    pub inodes_per_group: u64,
    /// Blocks of group descriptors.
    pub descriptor_blocks: u64,
    /// Blocks reserved for more of them.
    pub reserved_blocks: u64,
    /// Blocks of the journal.
    pub journal_blocks: u64,
    /// For each group: its block bitmap, inode bitmap, first block of its inode table; none before they are placed.
    pub tables: Vec<[u64; 3]>,
    /// Superblocks with what follows them, and tables once they are placed: ascending and disjoint.
    pub fixed: Vec<Run>,
}

impl Geometry {
    /// Blocks of a superblock and what follows it, in a file system of up to 1 TiB.
    pub const USUAL_BACKUP_LEN: u64 = 1 + GROWTH_DESCRIPTOR_BLOCKS;

    /// Lays out a file system of `blocks` blocks with at least `inodes` inodes; rounds down a last group that is too
    /// small to be one.
    pub fn new(blocks: u64, inodes: u64) -> Result<Self, Error> {
        let mut blocks = blocks;
        loop {
            let shape = Shape::new(blocks, inodes)?;
            let rest = blocks % GROUP_BLOCKS;
            if rest == 0 || rest >= shape.smallest_last() || shape.groups == 1 {
                return Ok(shape.without_tables());
            }
            blocks -= rest;
        }
    }

    /// The next length up at which the last group is large enough to be one.
    pub fn round_up(blocks: u64, inodes: u64) -> Result<u64, Error> {
        let shape = Shape::new(blocks, inodes)?;
        let rest = blocks % GROUP_BLOCKS;
        let missing = if rest == 0 { 0 } else { shape.smallest_last().saturating_sub(rest) };
        Ok(blocks + missing)
    }

    /// Inodes in all.
    pub const fn inodes(&self) -> u64 {
        self.inodes_per_group * self.groups
    }

    /// Blocks of one group's inode table.
    pub const fn table_blocks(&self) -> u64 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// Blocks of superblocks with what follows them, and of tables.
    pub fn fixed_blocks(&self) -> u64 {
        let copies = 1 + ints::to_u64(self.backups().count());
        copies * self.backup_len() + self.groups * (2 + self.table_blocks())
    }

    /// Blocks of a superblock and what follows it.
    const fn backup_len(&self) -> u64 {
        1 + self.descriptor_blocks + self.reserved_blocks
    }

    /// Places bitmaps and inode tables behind `end`, the first block that nothing else uses.
    pub fn place_tables(&mut self, end: u64) -> Result<(), Error> {
        let mut tables = vec![[0; 3]; ints::to_usize(self.groups)];
        let mut cursor = end;
        for leader in (0..self.groups).step_by(ints::to_usize(FLEX)) {
            let members = ints::to_usize(leader)..ints::to_usize((leader + FLEX).min(self.groups));
            cursor = cursor.max(leader * GROUP_BLOCKS);
            for (kind, len) in [(0, 1), (1, 1), (2, self.table_blocks())] {
                for table in &mut tables[members.clone()] {
                    let run = self.free_run(cursor, len)?;
                    table[kind] = run.start;
                    cursor = run.end();
                    self.fixed.push(run);
                }
            }
        }
        self.fixed.sort_by_key(|run| run.start);
        self.tables = tables;
        Ok(())
    }

    /// The first run of `len` blocks at or after `cursor` that no superblock interrupts.
    fn free_run(&self, cursor: u64, len: u64) -> Result<Run, Error> {
        let mut start = cursor;
        loop {
            let (first, last) = (start / GROUP_BLOCKS, (start + len - 1) / GROUP_BLOCKS);
            let hit = (first..=last)
                .filter(|group| has_backup(*group))
                .map(|group| group * GROUP_BLOCKS + self.backup_len());
            match hit.filter(|end| *end > start).max() {
                Some(end) => start = end,
                None if start + len > self.blocks => {
                    return Err(Error::TooSmall {
                        needed: (start + len) * BLOCK,
                        given: self.blocks * BLOCK,
                    });
                }
                None => return Ok(Run { start, len }),
            }
        }
    }

    /// The blocks of a group.
    pub fn group(&self, group: u64) -> Run {
        let start = group * GROUP_BLOCKS;
        Run { start, len: GROUP_BLOCKS.min(self.blocks - start) }
    }

    /// Groups other than the first that have a copy of superblock and descriptors.
    pub fn backups(&self) -> impl Iterator<Item = u64> {
        (1..self.groups).filter(|group| has_backup(*group))
    }
}

/// Blocks of the journal: enough for a small machine, little to write; 0 where there is no room for one.
const fn journal_blocks(blocks: u64) -> u64 {
    match blocks {
        0..=2047 => 0,
        2048..=32_767 => 1024,
        32_768..=262_143 => 4096,
        262_144..=4_194_303 => 8192,
        _ => 16_384,
    }
}

/// The numbers of a geometry, before blocks have places.
struct Shape {
    blocks: u64,
    groups: u64,
    inodes_per_group: u64,
    descriptor_blocks: u64,
    reserved_blocks: u64,
}

impl Shape {
    fn new(blocks: u64, inodes: u64) -> Result<Self, Error> {
        let groups = blocks.div_ceil(GROUP_BLOCKS).max(1);
        let inodes_per_group =
            inodes.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK).max(INODES_PER_BLOCK);
        if inodes_per_group > GROUP_BLOCKS {
            return Err(Error::TooSmall {
                needed: inodes.div_ceil(GROUP_BLOCKS) * GROUP_BLOCKS * BLOCK,
                given: blocks * BLOCK,
            });
        }
        if blocks > u64::from(u32::MAX) || inodes_per_group * groups > u64::from(u32::MAX) {
            return Err(Error::TooLarge);
        }
        let descriptor_blocks = groups.div_ceil(DESCRIPTORS_PER_BLOCK);
        let goal = GROWTH_DESCRIPTOR_BLOCKS.max(2 * descriptor_blocks);
        let reserved_blocks = (goal - descriptor_blocks).min(MAX_RESERVED);
        Ok(Self { blocks, groups, inodes_per_group, descriptor_blocks, reserved_blocks })
    }

    const fn backup_len(&self) -> u64 {
        1 + self.descriptor_blocks + self.reserved_blocks
    }

    /// The fewest blocks that the last group may have.
    fn smallest_last(&self) -> u64 {
        let last = self.groups - 1;
        let backup = if has_backup(last) { self.backup_len() } else { 0 };
        let tables = if last.is_multiple_of(FLEX) { 2 + self.inodes_per_group / INODES_PER_BLOCK } else { 0 };
        backup + tables + LAST_GROUP_SLACK
    }

    fn without_tables(self) -> Geometry {
        let backup = |group: u64| Run { start: group * GROUP_BLOCKS, len: self.backup_len() };
        let fixed = (0..self.groups).filter(|group| has_backup(*group)).map(backup).collect();
        let Self { blocks, groups, inodes_per_group, descriptor_blocks, reserved_blocks } = self;
        let journal_blocks = journal_blocks(blocks);
        Geometry {
            blocks,
            groups,
            inodes_per_group,
            descriptor_blocks,
            reserved_blocks,
            journal_blocks,
            tables: Vec::new(),
            fixed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_does_not_overlap_and_lies_inside() {
        for (blocks, inodes) in [
            (2048, 100),
            (40_000, 60_000),
            (600_000, 500_000),
            (600_000, 32_768 * 18),
            (16_777_216, 4_194_304),
        ] {
            for end in [0, blocks / 3, blocks / 2] {
                let mut g = Geometry::new(blocks, inodes).unwrap();
                g.place_tables(end).unwrap();
                assert!(g.fixed.windows(2).all(|pair| pair[0].end() <= pair[1].start), "{blocks} {inodes}");
                assert!(g.fixed.last().unwrap().end() <= g.blocks);
                assert!(g.inodes() >= inodes);
                assert_eq!(g.fixed.iter().map(|run| run.len).sum::<u64>(), g.fixed_blocks());
                assert!(g.tables.iter().all(|places| places.iter().all(|place| *place >= end)), "{end}");
            }
        }
    }
}
