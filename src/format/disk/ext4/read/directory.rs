//! Directories: their blocks are scanned one after the other; the nodes of an index look like empty entries.

use super::error::Error;
use super::file::Contents;
use super::file_system::Ext4;
use super::inode::{Inode, Kind};
use crate::format::disk::ext4::ondisk::directory::{
    self as ondisk, HEADER, INDEX_ENTRY, Index, NODE_INDEX, ROOT_INDEX, TAIL,
};
use crate::stream::ReadAt;
use std::ops::Range;

/// The longest directory that is read, in bytes: a store of a million paths.
const MAX_DIRECTORY: u64 = 128 << 20;

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name: no slash, no NUL, neither "." nor "..".
    pub name: Vec<u8>,
    /// The number of its inode.
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
        if left < HEADER {
            return Err(self.damaged(&format!("has {left} bytes left at its end")));
        }
        let entry = &self.block[at..];
        let (inode, record) = (ondisk::DE_INODE.get(entry), usize::from(ondisk::DE_REC_LEN.get(entry)));
        let name_len = usize::from(ondisk::DE_NAME_LEN.get(entry));
        if record < HEADER || record % 4 != 0 || record > left {
            return Err(self.damaged(&format!("has an entry of {record} bytes at byte {at}")));
        }
        self.at += record;
        if inode == 0 {
            return Ok(None);
        }
        if name_len == 0 || HEADER + name_len > record {
            return Err(
                self.damaged(&format!("has a name of {name_len} bytes in an entry of {record} at byte {at}"))
            );
        }
        let range = at + HEADER..at + HEADER + name_len;
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

    /// Where the index begins, if the block is one.
    fn index_at(&self) -> Option<usize> {
        let (inode, record) = (ondisk::DE_INODE.get(&self.block), ondisk::DE_REC_LEN.get(&self.block));
        match (self.has_index, self.blocks) {
            (true, 1) => Some(ROOT_INDEX),
            (true, _) if inode == 0 && usize::from(record) == self.block.len() => Some(NODE_INDEX),
            _ => None,
        }
    }

    fn leaf_sum(&self) -> Result<(u32, u32), Error> {
        if !ondisk::has_tail(&self.block) {
            return Err(self.damaged("has no checksum"));
        }
        let stored = ondisk::DET_CHECKSUM.from(self.block.len() - TAIL).get(&self.block);
        Ok((stored, ondisk::leaf_sum(self.seed, &self.block)))
    }

    fn index_sum(&self, at: usize) -> Result<(u32, u32), Error> {
        let index = Index::read(&self.block, at);
        let Index { limit, count, .. } = index;
        if count > limit || index.tail() + INDEX_ENTRY > self.block.len() {
            return Err(self.damaged(&format!("is an index of {count} entries, with room for {limit}")));
        }
        let stored = ondisk::DT_CHECKSUM.from(index.tail()).get(&self.block);
        Ok((stored, index.sum(self.seed, &self.block)))
    }
}
