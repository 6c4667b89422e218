//! Every block gets its place: superblocks first, then one cursor that only moves forward, tables behind its end.
//!
//! Since the cursor never goes back, a block is in use exactly when it is fixed or lies below the cursor's end, and an
//! inode exactly when its number is at most the last one given. Bitmaps follow from two numbers.

use super::directory;
use super::directory::Shape;
use super::extents::tree_blocks;
use super::front::Cursor;
use super::geometry::{Geometry, Run};
use super::namespace::{FrontDirectory, Lent, Namespace, count, index};
use super::options::{Error, Options, Size, Summary};
use crate::format::disk::ext4::ondisk::block::{BLOCK, GROUP_BLOCKS};
use crate::format::disk::ext4::ondisk::checksum;
use crate::format::disk::ext4::ondisk::inode::{self, FIRST_INO, ROOT_INO};
use crate::ints;
use crate::tree::Node;
use std::collections::BTreeMap;

/// Blocks of lost+found.
const LOST_FOUND_BLOCKS: u32 = 4;

/// Runs of blocks for a list of owners.
#[derive(Default)]
pub struct Runs {
    /// For each owner, where its runs begin and how many there are.
    spans: Vec<(u32, u32)>,
    pub(crate) runs: Vec<Run>,
}

impl Runs {
    fn of_owners(owners: usize) -> Self {
        Self { spans: vec![(0, 0); owners], runs: Vec::new() }
    }

    /// The runs of one owner.
    pub fn of(&self, owner: u32) -> &[Run] {
        let (start, len) = self.spans[index(owner)];
        &self.runs[index(start)..index(start) + index(len)]
    }

    fn put(&mut self, owner: usize, runs: &[Run]) {
        self.spans[owner] = (count(self.runs.len()), count(runs.len()));
        self.runs.extend_from_slice(runs);
    }
}

/// Everything that rendering needs.
pub struct Plan<C> {
    /// What was asked for.
    pub options: Options,
    /// Where superblocks, descriptors and tables are.
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
    /// Where the blocks of the journal are.
    pub journal: Vec<Run>,
    /// Blocks of the journal's extent tree.
    pub journal_tree: Vec<u64>,
    /// The resize inode's indirect block.
    pub resize_indirect: u64,
    /// The first block that the cursor did not reach.
    pub end: u64,
    /// What superblock and people are told.
    pub summary: Summary,
}

impl<C: Copy> Plan<C> {
    /// Gives every block its place.
    pub fn new(root: &Node<C>, lent: &[Lent<'_, C>], options: &Options) -> Result<Self, Error> {
        let front = FrontDirectory { path: &options.front, lent };
        let mut space = Namespace::new(root, &front)?;
        let mut shapes = Vec::with_capacity(space.directories.len() + 1);
        for dir in &space.directories {
            shapes.push(Shape::new(&space, dir, &options.hash_seed)?);
        }
        let end = space.directories[0].entries.end;
        space.directories.push(super::namespace::Dir {
            inode: FIRST_INO,
            parent: ROOT_INO,
            entries: end..end,
            subdirectories: 0,
        });
        shapes.push(Shape::Empty(LOST_FOUND_BLOCKS));
        let data = data_blocks(&space, &shapes)?;
        let geometry = fit(options.size, data, space.used_inodes(), 0)?;
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
            summary: EMPTY,
        };
        while let Err(error) = plan.allocate() {
            // A table is in one piece: where a superblock is in its way, some room in front of that stays free.
            let Size::Smallest { .. } = options.size else { return Err(error) };
            let least = plan.geometry.blocks + plan.geometry.table_blocks();
            plan.geometry = fit(options.size, data, plan.space.used_inodes(), least)?;
        }
        plan.count();
        plan.check_promise()?;
        Ok(plan)
    }

    fn allocate(&mut self) -> Result<(), Error> {
        let Self { geometry, space, shapes, .. } = self;
        let mut cursor = Cursor::new(geometry.fixed.iter().copied(), geometry.blocks);
        let (mut files, mut trees) = (Runs::of_owners(space.files.len()), BTreeMap::new());
        let mut runs = Vec::new();
        let front = index(space.front.start)..index(space.front.end);
        for at in front.clone() {
            place_file(space, at, &mut cursor, (&mut files, &mut trees), &mut runs)?;
        }
        self.journal.clear();
        cursor.take(geometry.journal_blocks, &mut self.journal)?;
        let journal_tree: Result<Vec<u64>, Error> =
            (0..tree_blocks(&self.journal)?).map(|_| cursor.one()).collect();
        self.journal_tree = journal_tree?;
        self.resize_indirect = cursor.one()?;
        self.directory_runs = Runs::of_owners(shapes.len());
        self.directory_blocks.clear();
        for (shape, at) in shapes.iter().zip(0..) {
            runs.clear();
            cursor.take(u64::from(shape.blocks()), &mut runs)?;
            self.directory_runs.put(index(at), &runs);
            self.directory_blocks.extend((0..shape.blocks()).map(|block| (at, block)));
        }
        self.symlink_runs = Runs::of_owners(space.slow_symlinks.len());
        for at in 0..space.slow_symlinks.len() {
            runs.clear();
            cursor.take(1, &mut runs)?;
            self.symlink_runs.put(at, &runs);
        }
        for at in (0..front.start).chain(front.end..space.files.len()) {
            place_file(space, at, &mut cursor, (&mut files, &mut trees), &mut runs)?;
        }
        (self.file_runs, self.trees, self.end) = (files, trees, cursor.at);
        self.geometry.place_tables(self.end)
    }

    fn count(&mut self) {
        let used: u64 = (0..self.geometry.groups).map(|group| self.used_blocks(group)).sum();
        let summary = &mut self.summary;
        summary.blocks = self.geometry.blocks;
        summary.groups = self.geometry.groups;
        summary.journal_blocks = self.geometry.journal_blocks;
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

    /// The seed of the checksums of groups.
    pub fn file_system_seed(&self) -> u32 {
        checksum::file_system_seed(&self.options.uuid)
    }

    /// The seed of the checksums of what belongs to an inode; its generation is 0, as that of every one made here.
    pub fn seed(&self, inode: u32) -> u32 {
        inode::seed(self.file_system_seed(), inode, 0)
    }

    /// Blocks in use in a group.
    pub fn used_blocks(&self, group: u64) -> u64 {
        let group = self.geometry.group(group);
        let below = self.end.clamp(group.start, group.end());
        let above: u64 = overlapping(&self.geometry.fixed, below, group.end()).map(|run| run.len).sum();
        below - group.start + above
    }
}

/// Places one file.
fn place_file<C, I: Iterator<Item = Run>>(
    space: &Namespace<C>,
    at: usize,
    cursor: &mut Cursor<I>,
    (files, trees): (&mut Runs, &mut BTreeMap<u32, Vec<u64>>),
    runs: &mut Vec<Run>,
) -> Result<(), Error> {
    let tree = cursor.file(space.files[at].len, runs)?;
    files.put(at, runs);
    if !tree.is_empty() {
        trees.insert(count(at), tree);
    }
    Ok(())
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
    let mut blocks = 1 + ints::to_u64(space.slow_symlinks.len());
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

/// Finds the geometry for a size, of at least so many blocks where the size leaves that open.
fn fit(size: Size, data: u64, used_inodes: u64, least: u64) -> Result<Geometry, Error> {
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
            let mut blocks = (data + free + 2048).max(least);
            // Each turn takes the metadata of the length before; both only grow, and less each time.
            loop {
                let inodes = inodes_for(blocks, 8, u64::from(free_inodes));
                // A group has at most as many inodes as its bitmap has bits.
                let groups = inodes.div_ceil(GROUP_BLOCKS);
                blocks = Geometry::round_up(blocks.max((groups - 1) * GROUP_BLOCKS + 1), inodes)?;
                let geometry = Geometry::new(blocks, inodes)?;
                let needed = geometry.fixed_blocks() + geometry.journal_blocks + data + free;
                if needed <= blocks {
                    return Ok(geometry);
                }
                blocks = needed;
            }
        }
    }
}
