//! ext4, read: bounded, checked, never trusted.
//!
//! Reads what nixflash and mke2fs make: extents and old block maps, 32- and 64-bit descriptors, flex_bg, checksums.
//! Every number is checked against the real size of the device before it is used; a checksum that does not match is an
//! error; what is not understood is named. A journal that needs recovery is reported: what is read is then the state
//! before its replay.
//!
//! Offsets are those of kernel `fs/ext4/ext4.h` and `fs/ext4/ext4_extents.h`.

mod directory;
mod file;
mod superblock;

pub use file::Contents;
pub use superblock::Superblock;

use crate::format::ext4::checksum;
use crate::num;
use crate::stream::ReadAt;
use std::io;

/// The root's inode.
pub const ROOT: u32 = 2;
/// How many symlinks a path may lead over.
const MAX_SYMLINKS: u32 = 40;
/// The longest directory that is read, in bytes: 300,000 names of full length.
const MAX_DIRECTORY: u64 = 128 << 20;

/// A file system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device fails.
    #[error("cannot read at byte {offset}: {source}")]
    Io {
        /// Where in the file system.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// There is no ext2, ext3 or ext4.
    #[error("there is no ext4 file system")]
    None,
    /// It has a feature that changes the meaning of what is read.
    #[error("the ext4 feature {0} is not supported")]
    Feature(String),
    /// Something is damaged.
    #[error("ext4 is damaged: {0}")]
    Damaged(String),
    /// There is nothing at a path.
    #[error("{0} does not exist")]
    NotFound(String),
    /// There is something else at a path.
    #[error("{path} is no {expected}")]
    Kind {
        /// The path.
        path: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A file is longer than the reader wants.
    #[error("{path} has {len} bytes, expected at most {limit}")]
    TooLong {
        /// The path.
        path: String,
        /// Its length.
        len: u64,
        /// The limit.
        limit: u64,
    },
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink.
    Symlink,
    /// A device, a FIFO, a socket.
    Other,
}

/// An inode.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Its number.
    pub number: u32,
    /// What it is.
    pub kind: Kind,
    /// Permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Length in bytes.
    pub size: u64,
    flags: u32,
    block: [u8; 60],
    seed: u32,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// The inode.
    pub inode: u32,
}

/// A file system that can be read.
pub struct Ext4<R> {
    device: R,
    /// Its superblock.
    pub superblock: Superblock,
}

/// Reads a little-endian number of 16 bits.
fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Reads a little-endian number of 32 bits.
fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl<R: ReadAt> Ext4<R> {
    /// Reads and checks the superblock.
    pub fn open(device: R) -> Result<Self, Error> {
        let superblock = Superblock::read(&device)?;
        Ok(Self { device, superblock })
    }

    /// Reads an inode.
    pub fn inode(&self, number: u32) -> Result<Inode, Error> {
        let sb = &self.superblock;
        let damaged = |what: &str| Error::Damaged(format!("inode {number} {what}"));
        if number == 0 || number > sb.inodes {
            return Err(damaged(&format!("does not exist, there are {}", sb.inodes)));
        }
        let (group, slot) = ((number - 1) / sb.inodes_per_group, (number - 1) % sb.inodes_per_group);
        let table = self.table_of(group)?;
        let offset = table * sb.block_size + u64::from(slot) * u64::from(sb.inode_size);
        let mut raw = vec![0; usize::from(sb.inode_size)];
        self.read(offset, &mut raw)?;
        let generation = le32(&raw, 0x64);
        let seed =
            checksum::update(checksum::update(sb.seed, &number.to_le_bytes()), &generation.to_le_bytes());
        if sb.has_checksums() && !inode_checksum_holds(&mut raw, seed) {
            return Err(damaged("has a wrong checksum"));
        }
        let mode = le16(&raw, 0);
        let kind = match mode >> 12 {
            0x8 => Kind::File,
            0x4 => Kind::Directory,
            0xa => Kind::Symlink,
            0 => return Err(damaged("is not in use")),
            _ => Kind::Other,
        };
        let high = |at: usize| u32::from(le16(&raw, at)) << 16;
        let mut block = [0; 60];
        block.copy_from_slice(&raw[0x28..0x64]);
        let size = u64::from(le32(&raw, 4))
            | if kind == Kind::File || kind == Kind::Directory {
                u64::from(le32(&raw, 0x6c)) << 32
            } else {
                0
            };
        Ok(Inode {
            number,
            kind,
            mode: mode & 0o7777,
            uid: u32::from(le16(&raw, 2)) | high(0x78),
            gid: u32::from(le16(&raw, 0x18)) | high(0x7a),
            mtime: mtime(&raw),
            size,
            flags: le32(&raw, 0x20),
            block,
            seed,
        })
    }

    /// The inode at an absolute path; symlinks are followed, the last one too.
    pub fn resolve(&self, path: &[u8]) -> Result<Inode, Error> {
        let mut rest = components(path);
        let mut trail = vec![self.inode(ROOT)?];
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                trail.truncate(trail.len().saturating_sub(1).max(1));
                continue;
            }
            // cannot fail: the root stays in the trail
            let Some(here) = trail.last() else { break };
            let not_found = || Error::NotFound(String::from_utf8_lossy(path).into_owned());
            let entry = self.find(here, &name)?.ok_or_else(not_found)?;
            let inode = self.inode(entry)?;
            if inode.kind == Kind::Symlink {
                links += 1;
                if links > MAX_SYMLINKS {
                    return Err(not_found());
                }
                let target = self.read_link(&inode)?;
                if target.starts_with(b"/") {
                    trail.truncate(1);
                }
                rest.extend(components(&target));
            } else {
                trail.push(inode);
            }
        }
        trail.pop().ok_or(Error::None)
    }

    /// The inode at an absolute path, of which nothing is followed.
    pub fn lookup(&self, path: &[u8]) -> Result<Inode, Error> {
        let mut inode = self.inode(ROOT)?;
        let mut rest = components(path);
        while let Some(name) = rest.pop() {
            let not_found = || Error::NotFound(String::from_utf8_lossy(path).into_owned());
            inode = self.inode(self.find(&inode, &name)?.ok_or_else(not_found)?)?;
        }
        Ok(inode)
    }

    /// The target of a symlink.
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        let len = num::to_usize(inode.size);
        if inode.kind != Kind::Symlink || inode.size > 4095 {
            return Err(Error::Damaged(format!(
                "inode {} is no symlink of at most 4095 bytes",
                inode.number
            )));
        }
        if len < 60 && !inode.has_extents() {
            return Ok(inode.block[..len].to_vec());
        }
        self.read_all(inode, 4095)
    }

    /// The contents of a file at a path, which may lead over symlinks; at most `limit` bytes.
    pub fn read_file(&self, path: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let inode = self.resolve(path.as_bytes())?;
        if inode.kind != Kind::File {
            return Err(Error::Kind { path: path.to_owned(), expected: "regular file" });
        }
        if inode.size > limit {
            return Err(Error::TooLong { path: path.to_owned(), len: inode.size, limit });
        }
        self.read_all(&inode, limit)
    }

    fn read_all(&self, inode: &Inode, limit: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut contents = self.contents(inode)?;
        while let Some(chunk) = contents.next_chunk()? {
            bytes.extend_from_slice(&chunk);
            if num::to_u64(bytes.len()) > limit {
                return Err(Error::Damaged(format!("inode {} is longer than it says", inode.number)));
            }
        }
        Ok(bytes)
    }

    /// The first block of the inode table of a group.
    fn table_of(&self, group: u32) -> Result<u64, Error> {
        let sb = &self.superblock;
        let size = u64::from(sb.descriptor_size);
        let per_block = sb.block_size / size;
        let block = sb.descriptor_block(u64::from(group) / per_block);
        let mut raw = vec![0; usize::from(sb.descriptor_size)];
        self.read(block * sb.block_size + u64::from(group) % per_block * size, &mut raw)?;
        if sb.has_checksums() {
            let stored = le16(&raw, 0x1e);
            raw[0x1e..0x20].fill(0);
            let sum = checksum::update(checksum::update(sb.seed, &group.to_le_bytes()), &raw);
            if checksum::low16(sum) != stored {
                return Err(Error::Damaged(format!("the descriptor of group {group} has a wrong checksum")));
            }
        }
        let high = if sb.descriptor_size >= 64 { u64::from(le32(&raw, 0x28)) << 32 } else { 0 };
        Ok(u64::from(le32(&raw, 8)) | high)
    }

    /// Reads bytes that must lie inside the file system and the device.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let end = offset.checked_add(num::to_u64(out.len()));
        let limit = self.superblock.blocks.saturating_mul(self.superblock.block_size);
        if end.is_none_or(|end| end > limit) {
            return Err(Error::Damaged(format!(
                "something is said to be at byte {offset}, the file system ends at {limit}"
            )));
        }
        self.device.read_exact_at(out, offset).map_err(|source| Error::Io { offset, source })
    }
}

impl Inode {
    /// Whether its blocks are told by extents.
    const fn has_extents(&self) -> bool {
        self.flags & 0x8_0000 != 0
    }
}

fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

fn mtime(raw: &[u8]) -> i64 {
    let seconds = i64::from(i32::from_le_bytes([raw[0x10], raw[0x11], raw[0x12], raw[0x13]]));
    let extra = if raw.len() > 0x8c && le16(raw, 0x80) >= 12 { i64::from(le32(raw, 0x88) & 3) } else { 0 };
    seconds + (extra << 32)
}

/// Compares the checksum of an inode, whose fields become zero.
fn inode_checksum_holds(raw: &mut [u8], seed: u32) -> bool {
    if raw.iter().all(|b| *b == 0) {
        return true;
    }
    let low = le16(raw, 0x7c);
    raw[0x7c..0x7e].fill(0);
    let has_high = raw.len() > 0x84 && le16(raw, 0x80) >= 4;
    let high = if has_high { le16(raw, 0x82) } else { 0 };
    if has_high {
        raw[0x82..0x84].fill(0);
    }
    let sum = checksum::update(seed, raw);
    checksum::low16(sum) == low && (!has_high || checksum::high16(sum) == high)
}
