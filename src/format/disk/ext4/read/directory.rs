//! Directories: their blocks are scanned one after the other; the nodes of an index look like empty entries.
//!
//! ```text
//! entry       inode u32 | rec_len u16 | name_len u8 | file_type u8 | name, up to rec_len
//! leaf        entries ... | with checksums: inode 0 | rec_len 12 | 0 | de | checksum u32
//! index root  "." rec_len 12 | ".." to the end | 0 u32 | hash u8 | 8 | levels u8 | 0 | at 32: limit, count
//! index node  inode 0, rec_len to the end | at 8: limit u16, count u16, block u32 | hash u32, block u32 ...
//! index tail  after limit entries of 8 bytes: reserved u32 | checksum u32
//! ```
//! Source: kernel `fs/ext4/namei.c` (`ext4_dirblock_csum_verify`, `get_dx_countlimit`, `ext4_dx_csum`).

use super::{Contents, Error, Ext4, Inode, Kind, le16, le32};
use crate::format::disk::ext4::ondisk::checksum;
use crate::stream::ReadAt;
use std::ops::Range;

/// The longest directory that is read, in bytes: a store of a million paths.
const MAX_DIRECTORY: u64 = 128 << 20;
/// Bytes of the entry that holds the checksum of a leaf.
const TAIL: usize = 12;

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name: no slash, no NUL, neither "." nor "..".
    pub name: Vec<u8>,
    /// The inode.
    pub inode: u32,
    /// What the entry says that it is: 1 file, 2 directory, 7 symlink, 3 to 6 others, 0 where nothing is said.
    pub says: u8,
}

/// The entries of a directory but "." and "..", in the order of its blocks; it ends after the first error.
pub struct Entries<'a, R> {
    contents: Contents<'a, R>,
    number: u32,
    seed: u32,
    has_index: bool,
    checksums: bool,
    block: Vec<u8>,
    /// How many blocks were read.
    blocks: u64,
    at: usize,
    done: bool,
}

impl<R: ReadAt> Ext4<R> {
    /// Goes through a directory.
    pub fn read_dir(&self, directory: &Inode) -> Result<Entries<'_, R>, Error> {
        let number = directory.number;
        if directory.kind != Kind::Directory {
            return Err(Error::Kind { path: format!("inode {number}"), expected: "directory" });
        }
        let (size, unit) = (directory.size, self.superblock.block_size);
        if size > MAX_DIRECTORY || size % unit != 0 || size == 0 {
            return Err(Error::Damaged(format!(
                "the directory in inode {number} has {size} bytes, expected blocks of {unit} and at most {MAX_DIRECTORY}"
            )));
        }
        Ok(Entries {
            contents: self.contents(directory)?,
            number,
            seed: directory.seed,
            has_index: directory.has_index(),
            checksums: self.superblock.has_checksums(),
            block: Vec::new(),
            blocks: 0,
            at: 0,
            done: false,
        })
    }
}

impl<R: ReadAt> Iterator for Entries<'_, R> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.advance().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        Some(next?.map(|(name, inode)| {
            let says = self.block[name.start - 1];
            Entry { name: self.block[name].to_vec(), inode, says }
        }))
    }
}

impl<R: ReadAt> Entries<'_, R> {
    fn damaged(&self, what: &str) -> Error {
        let block = self.blocks.saturating_sub(1);
        Error::Damaged(format!("block {block} of the directory in inode {} {what}", self.number))
    }

    /// The inode of a name that is still to come.
    pub(crate) fn find(&mut self, wanted: &[u8]) -> Result<Option<u32>, Error> {
        while let Some((name, inode)) = self.advance()? {
            if self.block[name] == *wanted {
                return Ok(Some(inode));
            }
        }
        Ok(None)
    }

    /// The next block as a whole, its checksum compared.
    pub(crate) fn next_raw(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(block) = self.contents.next_block()? else { return Ok(None) };
        self.block = block;
        self.blocks += 1;
        if self.checksums {
            self.check_sum()?;
        }
        Ok(Some(std::mem::take(&mut self.block)))
    }

    /// Where in the block the next name is, and its inode.
    fn advance(&mut self) -> Result<Option<(Range<usize>, u32)>, Error> {
        loop {
            if self.at == self.block.len() {
                let Some(block) = self.contents.next_block()? else { return Ok(None) };
                self.block = block;
                self.blocks += 1;
                self.at = 0;
                if self.checksums {
                    self.check_sum()?;
                }
            }
            if let Some(entry) = self.entry()? {
                return Ok(Some(entry));
            }
        }
    }

    /// The entry at the current place, which moves on; `None` for one that is not used.
    fn entry(&mut self) -> Result<Option<(Range<usize>, u32)>, Error> {
        let (at, left) = (self.at, self.block.len() - self.at);
        if left < 8 {
            return Err(self.damaged(&format!("has {left} bytes left at its end")));
        }
        let (inode, record) = (le32(&self.block, at), usize::from(le16(&self.block, at + 4)));
        if record < 8 || record % 4 != 0 || record > left {
            return Err(self.damaged(&format!("has an entry of {record} bytes at byte {at}")));
        }
        self.at += record;
        if inode == 0 {
            return Ok(None);
        }
        let name_len = usize::from(self.block[at + 6]);
        if name_len == 0 || 8 + name_len > record {
            return Err(
                self.damaged(&format!("has a name of {name_len} bytes in an entry of {record} at byte {at}"))
            );
        }
        let range = at + 8..at + 8 + name_len;
        let name = &self.block[range.clone()];
        if name == b"." || name == b".." {
            return Ok(None);
        }
        if name.contains(&b'/') || name.contains(&0) {
            return Err(self.damaged(&format!("has a name with a slash or a NUL at byte {at}")));
        }
        Ok(Some((range, inode)))
    }

    fn check_sum(&self) -> Result<(), Error> {
        let (stored, computed) = match self.index_at() {
            Some(at) => self.index_sum(at)?,
            None => self.leaf_sum()?,
        };
        if stored != computed {
            let what = format!("block {} of the directory in inode {}", self.blocks - 1, self.number);
            return Err(Error::Checksum { what, stored, computed });
        }
        Ok(())
    }

    /// Where limit and count of an index are, if the block is one.
    fn index_at(&self) -> Option<usize> {
        let record = usize::from(le16(&self.block, 4));
        match (self.has_index, self.blocks) {
            (true, 1) => Some(32),
            (true, _) if le32(&self.block, 0) == 0 && record == self.block.len() => Some(8),
            _ => None,
        }
    }

    fn leaf_sum(&self) -> Result<(u32, u32), Error> {
        let (body, tail) = self.block.split_at(self.block.len() - TAIL);
        if tail[..8] != [0, 0, 0, 0, 12, 0, 0, 0xde] {
            return Err(self.damaged("has no checksum"));
        }
        Ok((le32(tail, 8), checksum::update(self.seed, body)))
    }

    fn index_sum(&self, at: usize) -> Result<(u32, u32), Error> {
        let (limit, count) = (usize::from(le16(&self.block, at)), usize::from(le16(&self.block, at + 2)));
        let tail = at + 8 * limit;
        if count > limit || tail + 8 > self.block.len() {
            return Err(self.damaged(&format!("is an index of {count} entries, with room for {limit}")));
        }
        let sum = checksum::update(self.seed, &self.block[..at + 8 * count]);
        let sum = checksum::update(sum, &self.block[tail..tail + 4]);
        Ok((le32(&self.block, tail + 4), checksum::update(sum, &[0; 4])))
    }
}
