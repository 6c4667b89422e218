//! Files whose blocks are known before the rest of the tree is.

use super::extents::tree_blocks;
use super::geometry::{Geometry, Run};
use super::options::Error;
use crate::format::disk::ext4::ondisk::block::{BLOCK, GROUP_BLOCKS};
use crate::format::disk::ext4::ondisk::group::has_backup;

/// Gives out blocks in ascending order, around what is fixed.
pub struct Cursor<I: Iterator<Item = Run>> {
    fixed: std::iter::Peekable<I>,
    /// The first block that was not given out.
    pub at: u64,
    blocks: u64,
}

impl<I: Iterator<Item = Run>> Cursor<I> {
    /// Begins before all of `fixed`, which ascends; there are `blocks` blocks.
    pub fn new(fixed: I, blocks: u64) -> Self {
        Self { fixed: fixed.peekable(), at: 0, blocks }
    }

    /// Adds the next `len` blocks to `runs`.
    pub fn take(&mut self, mut len: u64, runs: &mut Vec<Run>) -> Result<(), Error> {
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

    /// The next block.
    pub fn one(&mut self) -> Result<u64, Error> {
        let mut runs = Vec::new();
        self.take(1, &mut runs)?;
        Ok(runs[0].start)
    }

    /// The blocks of a file of `len` bytes, put into `runs`, and behind them those of its extent tree.
    pub fn file(&mut self, len: u64, runs: &mut Vec<Run>) -> Result<Vec<u64>, Error> {
        runs.clear();
        self.take(len.div_ceil(BLOCK), runs)?;
        (0..tree_blocks(runs)?).map(|_| self.one()).collect()
    }
}

/// Where the files of a front lie, told one after the other in the order of the tree: for a caller that has
/// them before the tree is complete. What it says is what [`super::plan`] decides where the file system is no longer than 1 TiB.
pub struct Front(Cursor<Box<dyn Iterator<Item = Run> + Send>>);

impl Default for Front {
    fn default() -> Self {
        let len = Geometry::USUAL_BACKUP_LEN;
        let fixed = (0..)
            .filter(|group| has_backup(*group))
            .map(move |group| Run { start: group * GROUP_BLOCKS, len });
        Self(Cursor::new(Box::new(fixed), u64::from(u32::MAX)))
    }
}

impl Front {
    /// Where the next file of `len` bytes lies: offset from the start of the file system, and length, of each piece in
    /// bytes; the last piece may be shorter than its blocks.
    pub fn file(&mut self, len: u64) -> Result<Vec<(u64, u64)>, Error> {
        let mut runs = Vec::new();
        self.0.file(len, &mut runs)?;
        let mut left = len;
        let piece = |run: Run| {
            let len = (run.len * BLOCK).min(left);
            left -= len;
            (run.start * BLOCK, len)
        };
        Ok(runs.into_iter().map(piece).collect())
    }
}
