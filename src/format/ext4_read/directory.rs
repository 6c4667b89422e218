//! Directories: their blocks are scanned one after the other; the index of a tree looks like empty entries.

use super::{Entry, Error, Ext4, Inode, Kind, MAX_DIRECTORY, le16, le32};
use crate::format::ext4::checksum;
use crate::num;
use crate::stream::ReadAt;

impl<R: ReadAt> Ext4<R> {
    /// The entries of a directory but "." and "..", in the order of its blocks.
    pub fn read_dir(&self, directory: &Inode) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        self.scan(directory, &mut |entry| {
            entries.push(entry);
            false
        })?;
        Ok(entries)
    }

    /// The inode of a name in a directory.
    pub(super) fn find(&self, directory: &Inode, name: &[u8]) -> Result<Option<u32>, Error> {
        let mut found = None;
        self.scan(directory, &mut |entry| {
            let hit = entry.name == name;
            if hit {
                found = Some(entry.inode);
            }
            hit
        })?;
        Ok(found)
    }

    /// Goes through the entries until `stop` says so.
    fn scan(&self, directory: &Inode, stop: &mut dyn FnMut(Entry) -> bool) -> Result<(), Error> {
        if directory.kind != Kind::Directory {
            return Err(Error::Kind { path: format!("inode {}", directory.number), expected: "directory" });
        }
        if directory.size > MAX_DIRECTORY {
            return Err(Error::Damaged(format!(
                "the directory in inode {} has {} bytes",
                directory.number, directory.size
            )));
        }
        let mut contents = self.contents(directory)?;
        while let Some(block) = contents.next_block()? {
            if self.scan_block(directory, &block, stop)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn scan_block(
        &self,
        directory: &Inode,
        block: &[u8],
        stop: &mut dyn FnMut(Entry) -> bool,
    ) -> Result<bool, Error> {
        let damaged =
            |what: &str| Error::Damaged(format!("the directory in inode {} {what}", directory.number));
        let len = block.len();
        if self.superblock.has_checksums() && has_tail(block) {
            let sum = checksum::update(directory.seed, &block[..len - 12]);
            if sum != le32(block, len - 4) {
                return Err(damaged("has a block with a wrong checksum"));
            }
        }
        let mut at = 0;
        while at + 8 <= len {
            let inode = le32(block, at);
            let record = match usize::from(le16(block, at + 4)) {
                // Blocks of 64 KiB, which are not read here, would write their length so.
                record if record >= 8 && record % 4 == 0 && at + record <= len => record,
                record => {
                    return Err(damaged(&format!("has an entry of {record} bytes at byte {at} of a block")));
                }
            };
            let name_len = usize::from(block[at + 6]);
            if inode != 0 {
                if name_len == 0 || 8 + name_len > record {
                    return Err(damaged(&format!("has a name of {name_len} bytes in an entry of {record}")));
                }
                let name = &block[at + 8..at + 8 + name_len];
                if name != b"." && name != b".." && stop(Entry { name: name.to_vec(), inode }) {
                    return Ok(true);
                }
            }
            at += record;
        }
        Ok(false)
    }
}

/// Whether a block of entries ends with a checksum; blocks of an index do not.
fn has_tail(block: &[u8]) -> bool {
    let tail = block.len() - 12;
    le32(block, tail) == 0
        && le16(block, tail + 4) == 12
        && block[tail + 6] == 0
        && block[tail + 7] == 0xde
        && num::to_u64(tail) > 0
}
