//! What of a file system is written: extents, and what each encoded one renders.

use super::allocate::{Plan, Runs};
use super::geometry::Run;
use super::namespace::count;
use super::options::Purpose;
use crate::extent::{Extent, Fill, MAX_ENCODED};
use crate::format::disk::ext4::ondisk::block::{BLOCK, GROUP_BLOCKS, INODES_PER_BLOCK};
use crate::ints;

/// The most blocks in one encoded extent.
const CHUNK: u64 = MAX_ENCODED / BLOCK;

/// What an encoded extent renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Nothing: the extent is zeros or content.
    None,
    /// The superblock of a group.
    Superblock(u64),
    /// Group descriptors from that block of them.
    Descriptors(u64),
    /// Reserved descriptor blocks of the first group, from that one: the resize inode's lists of their copies.
    Reserved(u64),
    /// Block bitmaps from that group.
    BlockBitmaps(u64),
    /// Inode bitmaps from that group.
    InodeBitmaps(u64),
    /// Inodes from that number.
    Inodes(u64),
    /// The first block of the journal.
    Journal,
    /// The block in which the resize inode lists the reserved blocks.
    ResizeIndirect,
    /// Directory blocks from that index of all.
    Directories(u32),
    /// Symlink blocks from that index of all.
    Symlinks(u32),
    /// A block of the extent tree of a file: index of the file, number of the block.
    ExtentBlock(u32, u32),
    /// The same for the journal.
    JournalExtents(u32),
}

impl<C: Copy> Plan<C> {
    /// All that is not *don't care*, ascending, with what each encoded extent renders.
    pub fn extents(&self) -> (Vec<Extent<C>>, Vec<Token>) {
        let mut list = List { items: Vec::new() };
        self.fixed_extents(&mut list);
        self.journal_extents(&mut list);
        list.encoded(Run { start: self.resize_indirect, len: 1 }, |_| Token::ResizeIndirect);
        self.listed(&self.directory_runs, Token::Directories, &mut list);
        self.listed(&self.symlink_runs, Token::Symlinks, &mut list);
        self.file_extents(&mut list);
        list.items.sort_by_key(|(extent, _)| extent.offset);
        list.items.into_iter().unzip()
    }

    fn fixed_extents(&self, list: &mut List<C>) {
        let g = &self.geometry;
        for group in std::iter::once(0).chain(g.backups()) {
            let start = group * GROUP_BLOCKS;
            list.encoded(Run { start, len: 1 }, |_| Token::Superblock(group));
            list.encoded(Run { start: start + 1, len: g.descriptor_blocks }, Token::Descriptors);
            let reserved = Run { start: start + 1 + g.descriptor_blocks, len: g.reserved_blocks };
            if group == 0 {
                list.encoded(reserved, Token::Reserved);
            } else {
                list.zeros(reserved);
            }
        }
        for (group, [block_bitmap, inode_bitmap, table]) in (0..).zip(&g.tables) {
            list.encoded(Run { start: *block_bitmap, len: 1 }, |_| Token::BlockBitmaps(group));
            list.encoded(Run { start: *inode_bitmap, len: 1 }, |_| Token::InodeBitmaps(group));
            let first = group * g.inodes_per_group;
            let used = (self.space.used_inodes().saturating_sub(first))
                .div_ceil(INODES_PER_BLOCK)
                .min(g.table_blocks());
            list.encoded(Run { start: *table, len: used }, |block| {
                Token::Inodes(first + block * INODES_PER_BLOCK + 1)
            });
            if self.options.purpose == Purpose::Image {
                list.zeros(Run { start: table + used, len: g.table_blocks() - used });
            }
        }
    }

    fn journal_extents(&self, list: &mut List<C>) {
        for (n, run) in self.journal.iter().enumerate() {
            let head = u64::from(n == 0);
            list.encoded(Run { start: run.start, len: head }, |_| Token::Journal);
            list.zeros(Run { start: run.start + head, len: run.len - head });
        }
        for (block, n) in self.journal_tree.iter().zip(0..) {
            list.encoded(Run { start: *block, len: 1 }, |_| Token::JournalExtents(n));
        }
    }

    /// Blocks of a list of owners that were placed one after the other: neighbours become one extent.
    fn listed(&self, runs: &Runs, token: impl Fn(u32) -> Token, list: &mut List<C>) {
        let mut merged: Vec<(Run, u64)> = Vec::new();
        let mut first = 0;
        for run in &runs.runs {
            match merged.last_mut() {
                Some((last, _)) if last.end() == run.start => last.len += run.len,
                _ => merged.push((*run, first)),
            }
            first += run.len;
        }
        for (run, first) in merged {
            list.encoded(run, |block| token(count(ints::to_usize(first + block))));
        }
    }

    fn file_extents(&self, list: &mut List<C>) {
        for (file, at) in self.space.files.iter().zip(0..) {
            let mut done = 0;
            for run in self.file_runs.of(at) {
                let len = (run.len * BLOCK).min(file.len - done);
                let fill = Fill::Content { content: file.content, at: done, len };
                list.push(*run, fill, Token::None);
                done += len;
            }
        }
        for (file, blocks) in &self.trees {
            for (block, n) in blocks.iter().zip(0..) {
                list.encoded(Run { start: *block, len: 1 }, |_| Token::ExtentBlock(*file, n));
            }
        }
    }
}

struct List<C> {
    items: Vec<(Extent<C>, Token)>,
}

impl<C> List<C> {
    fn push(&mut self, run: Run, fill: Fill<C>, token: Token) {
        if run.len > 0 {
            self.items.push((Extent { offset: run.start * BLOCK, len: run.len * BLOCK, fill }, token));
        }
    }

    fn zeros(&mut self, run: Run) {
        self.push(run, Fill::Zeros, Token::None);
    }

    /// Cuts a run into extents that are not too long; `token` gets the first block of each, counted from the run's.
    fn encoded(&mut self, run: Run, token: impl Fn(u64) -> Token) {
        let mut done = 0;
        while done < run.len {
            let len = CHUNK.min(run.len - done);
            self.push(Run { start: run.start + done, len }, Fill::Encoded, token(done));
            done += len;
        }
    }
}
