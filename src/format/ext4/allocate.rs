//! Every block gets its place: fixed metadata first, then one cursor that only moves forward.
//!
//! Since the cursor never goes back, a block is in use exactly when it is fixed or lies below the cursor's end, and an
//! inode exactly when its number is at most the last one given. Bitmaps follow from two numbers.

use super::directory::{self, Shape};
use super::extents::tree_blocks;
use super::geometry::{FIRST_INODE, GROUP_BLOCKS, Geometry, Run};
use super::namespace::{Namespace, ROOT, count, index};
use super::{BLOCK, Error, Options, Size, Summary};
use crate::num;
use crate::tree::Node;
use std::collections::BTreeMap;

/// Blocks of lost+found.
const LOST_FOUND_BLOCKS: u32 = 4;

/// Runs of blocks for a list of owners.
#[derive(Default)]
pub struct Runs {
    ends: Vec<u32>,
    pub(super) runs: Vec<Run>,
}

impl Runs {
    /// The runs of one owner.
    pub fn of(&self, owner: u32) -> &[Run] {
        let owner = index(owner);
        let start = if owner == 0 { 0 } else { index(self.ends[owner - 1]) };
        &self.runs[start..index(self.ends[owner])]
    }

    fn push(&mut self, runs: &[Run]) {
        self.runs.extend_from_slice(runs);
        self.ends.push(count(self.runs.len()));
    }
}

/// Everything that rendering needs.
pub struct Plan<C> {
    /// The options.
    pub options: Options,
    /// The shape.
    pub geometry: Geometry,
    /// The inodes and names.
    pub space: Namespace<C>,
    /// The layout of each directory; lost+found is the last.
    pub shapes: Vec<Shape>,
    /// Directory and logical block of each directory block, in the order of their places.
    pub directory_blocks: Vec<(u32, u32)>,
    /// Data of directories, by index.
    pub directory_runs: Runs,
    /// Data of symlinks with blocks.
    pub symlink_runs: Runs,
    /// Data of files.
    pub file_runs: Runs,
    /// Blocks of extent trees, for the few files that have any.
    pub trees: BTreeMap<u32, Vec<u64>>,
    /// The journal.
    pub journal: Vec<Run>,
    /// Blocks of the journal's extent tree.
    pub journal_tree: Vec<u64>,
    /// The resize inode's indirect block.
    pub resize_indirect: u64,
    /// The first block that the cursor did not reach.
    pub end: u64,
    /// The numbers.
    pub summary: Summary,
}

/// Gives out blocks in ascending order, around what is fixed.
struct Cursor<'a> {
    fixed: std::iter::Peekable<std::slice::Iter<'a, Run>>,
    at: u64,
    blocks: u64,
}

impl Cursor<'_> {
    fn take(&mut self, mut len: u64, runs: &mut Vec<Run>) -> Result<(), Error> {
        while len > 0 {
            while let Some(fixed) = self.fixed.next_if(|run| run.start <= self.at) {
                self.at = self.at.max(fixed.end());
            }
            let limit = self.fixed.peek().map_or(self.blocks, |run| run.start);
            if self.at >= self.blocks {
                return Err(Error::TooSmall { needed: (self.at + len) * BLOCK, given: self.blocks * BLOCK });
            }
            let run = Run { start: self.at, len: len.min(limit - self.at) };
            self.at = run.end();
            len -= run.len;
            match runs.last_mut() {
                Some(last) if last.end() == run.start => last.len += run.len,
                _ => runs.push(run),
            }
        }
        Ok(())
    }

    fn one(&mut self) -> Result<u64, Error> {
        let mut runs = Vec::new();
        self.take(1, &mut runs)?;
        Ok(runs[0].start)
    }
}

impl<C: Copy> Plan<C> {
    /// Gives every block its place.
    pub fn new(root: &Node<C>, options: &Options) -> Result<Self, Error> {
        let mut space = Namespace::new(root)?;
        let mut shapes = Vec::with_capacity(space.directories.len() + 1);
        for dir in &space.directories {
            shapes.push(Shape::new(&space, dir, &options.hash_seed)?);
        }
        let end = space.directories[0].entries.end;
        space.directories.push(super::namespace::Dir {
            inode: FIRST_INODE,
            parent: ROOT,
            entries: end..end,
            subdirectories: 0,
        });
        shapes.push(Shape::Empty(LOST_FOUND_BLOCKS));
        let data = data_blocks(&space, &shapes)?;
        let geometry = fit(options.size, data, space.used_inodes())?;
        let summary = Summary {
            blocks: geometry.blocks,
            groups: geometry.groups,
            journal_blocks: geometry.journal_blocks,
            ..EMPTY
        };
        let mut plan = Self {
            options: options.clone(),
            geometry,
            space,
            shapes,
            directory_blocks: Vec::new(),
            directory_runs: Runs::default(),
            symlink_runs: Runs::default(),
            file_runs: Runs::default(),
            trees: BTreeMap::new(),
            journal: Vec::new(),
            journal_tree: Vec::new(),
            resize_indirect: 0,
            end: 0,
            summary,
        };
        plan.allocate()?;
        plan.count();
        plan.check_promise()?;
        Ok(plan)
    }

    fn allocate(&mut self) -> Result<(), Error> {
        let geometry = &self.geometry;
        let mut cursor = Cursor { fixed: geometry.fixed.iter().peekable(), at: 0, blocks: geometry.blocks };
        cursor.take(geometry.journal_blocks, &mut self.journal)?;
        for _ in 0..tree_blocks(&self.journal)? {
            self.journal_tree.push(cursor.one()?);
        }
        self.resize_indirect = cursor.one()?;
        let mut runs = Vec::new();
        for (shape, at) in self.shapes.iter().zip(0..) {
            runs.clear();
            cursor.take(u64::from(shape.blocks()), &mut runs)?;
            self.directory_runs.push(&runs);
            self.directory_blocks.extend((0..shape.blocks()).map(|block| (at, block)));
        }
        for _ in &self.space.slow_symlinks {
            runs.clear();
            cursor.take(1, &mut runs)?;
            self.symlink_runs.push(&runs);
        }
        for (file, at) in self.space.files.iter().zip(0..) {
            runs.clear();
            cursor.take(file.len.div_ceil(BLOCK), &mut runs)?;
            self.file_runs.push(&runs);
            let blocks = tree_blocks(&runs)?;
            if blocks > 0 {
                let tree: Result<Vec<u64>, Error> = (0..blocks).map(|_| cursor.one()).collect();
                self.trees.insert(at, tree?);
            }
        }
        self.end = cursor.at;
        Ok(())
    }

    fn count(&mut self) {
        let used: u64 = (0..self.geometry.groups).map(|group| self.used_blocks(group)).sum();
        let summary = &mut self.summary;
        summary.free_blocks = summary.blocks - used;
        summary.reserved_blocks = reserve(summary.blocks).min(summary.free_blocks);
        summary.inodes = self.geometry.inodes();
        summary.free_inodes = summary.inodes - self.space.used_inodes();
    }

    fn check_promise(&self) -> Result<(), Error> {
        let Size::Smallest { free_bytes, free_inodes } = self.options.size else { return Ok(()) };
        // What `fit` computed must have come out; a tree of extents that it could not foresee is paid from the slack.
        let short = self.summary.free_blocks * BLOCK < free_bytes
            || self.summary.free_inodes < u64::from(free_inodes);
        if short {
            let given = self.summary.blocks * BLOCK;
            return Err(Error::TooSmall { needed: given + free_bytes, given });
        }
        Ok(())
    }

    /// Blocks in use in a group.
    pub fn used_blocks(&self, group: u64) -> u64 {
        let group = self.geometry.group(group);
        let below = self.end.clamp(group.start, group.end());
        let above: u64 = overlapping(&self.geometry.fixed, below, group.end()).map(|run| run.len).sum();
        below - group.start + above
    }
}

const EMPTY: Summary = Summary {
    blocks: 0,
    free_blocks: 0,
    reserved_blocks: 0,
    inodes: 0,
    free_inodes: 0,
    groups: 0,
    journal_blocks: 0,
};

/// The parts of ascending runs that lie in `from..to`.
pub fn overlapping(runs: &[Run], from: u64, to: u64) -> impl Iterator<Item = Run> {
    let first = runs.partition_point(|run| run.end() <= from);
    runs[first..].iter().take_while(move |run| run.start < to).map(move |run| {
        let start = run.start.max(from);
        Run { start, len: run.end().min(to) - start }
    })
}

/// Blocks that only root can use: 1 %.
const fn reserve(blocks: u64) -> u64 {
    blocks / 100
}

/// Blocks that the cursor will give out, without the journal. Extent trees of files that are cut into more than four
/// pieces cannot be known yet: one block for each file long enough to be cut so often.
fn data_blocks<C: Copy>(space: &Namespace<C>, shapes: &[Shape]) -> Result<u64, Error> {
    let mut blocks = 1 + num::to_u64(space.slow_symlinks.len());
    for shape in shapes {
        blocks += directory::byte_len(shape) / BLOCK;
    }
    for file in &space.files {
        let data = file.len.div_ceil(BLOCK);
        // Cut at most twice in a group: by a superblock and by tables.
        let pieces = 2 * data.div_ceil(GROUP_BLOCKS) + 1;
        let tree = if pieces > 4 { pieces.div_ceil(340) + pieces.div_ceil(340).div_ceil(340) } else { 0 };
        blocks = blocks.checked_add(data + tree).ok_or(Error::TooLarge)?;
    }
    Ok(blocks)
}

/// Finds the geometry for a size.
fn fit(size: Size, data: u64, used_inodes: u64) -> Result<Geometry, Error> {
    // A card gets an inode for each 16 KiB, as mke2fs does; a tight image is full of files already and gets for each
    // 32 KiB of what it may grow to.
    let inodes_for = |blocks: u64, per_block: u64, free: u64| (blocks / per_block).max(used_inodes + free);
    match size {
        Size::Exact(bytes) => {
            let blocks = bytes / BLOCK;
            let geometry = Geometry::new(blocks, inodes_for(blocks, 4, used_inodes / 4 + 16_384))?;
            let needed = geometry.fixed_blocks() + geometry.journal_blocks + data;
            if needed > geometry.blocks {
                return Err(Error::TooSmall { needed: needed * BLOCK, given: bytes });
            }
            Ok(geometry)
        }
        Size::Smallest { free_bytes, free_inodes } => {
            let free = free_bytes.div_ceil(BLOCK);
            let mut blocks = data + free + 2048;
            // Each turn takes the metadata of the length before; both only grow, and less each time.
            loop {
                let inodes = inodes_for(blocks, 8, u64::from(free_inodes));
                // A group has at most as many inodes as its bitmap has bits.
                let groups = inodes.div_ceil(GROUP_BLOCKS);
                blocks = Geometry::round_up(blocks.max((groups - 1) * GROUP_BLOCKS + 1), inodes)?;
                let geometry = match Geometry::new(blocks, inodes) {
                    Ok(geometry) => geometry,
                    Err(Error::TooSmall { .. }) => {
                        blocks += 1024;
                        continue;
                    }
                    Err(other) => return Err(other),
                };
                let needed = geometry.fixed_blocks() + geometry.journal_blocks + data + free;
                if needed <= blocks {
                    return Ok(geometry);
                }
                blocks = needed;
            }
        }
    }
}
