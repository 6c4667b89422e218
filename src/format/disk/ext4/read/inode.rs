//! Inodes and the group descriptors that say where they are.

use super::{Error, Ext4, le16, le32};
use crate::format::disk::ext4::ondisk::checksum;
use crate::num;
use crate::stream::ReadAt;

/// The inode's blocks are told by extents.
const EXTENTS: u32 = 0x8_0000;
/// The directory has an index in its first block.
const INDEX: u32 = 0x1000;
/// The file may not be changed, or only be added to.
const LOCKED: u32 = 0x10 | 0x20;
/// What extended attributes in the inode begin with.
const ATTRIBUTES: u32 = 0xea02_0000;
/// Flags of inodes whose contents are not where this reader looks.
const UNSUPPORTED: [(u32, &str); 3] =
    [(0x4, "compression"), (0x800, "encrypt"), (0x1000_0000, "inline_data")];

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
    /// Permissions: the low twelve bits of `st_mode`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// How many names it has.
    pub links: u16,
    /// Length in bytes.
    pub size: u64,
    /// Whether it has extended attributes, such as an ACL or the capabilities of a program.
    pub has_attributes: bool,
    /// Whether it has blocks of its own, besides one of extended attributes.
    pub(crate) has_blocks: bool,
    pub(crate) flags: u32,
    pub(crate) block: [u8; 60],
    pub(crate) seed: u32,
}

impl Inode {
    /// Whether it is immutable or append-only.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.flags & LOCKED != 0
    }

    pub(crate) const fn has_extents(&self) -> bool {
        self.flags & EXTENTS != 0
    }

    pub(crate) const fn has_index(&self) -> bool {
        self.flags & INDEX != 0
    }

    /// Whether the target is in the inode itself.
    pub(crate) fn is_fast_symlink(&self) -> bool {
        self.kind == Kind::Symlink && self.size < 60 && !self.has_extents()
    }

    /// Refuses what this reader would read wrongly.
    pub(crate) fn check_readable(&self) -> Result<(), Error> {
        match UNSUPPORTED.iter().find(|(flag, _)| self.flags & flag != 0) {
            Some((_, name)) => Err(Error::Feature(format!("{name} of inode {}", self.number))),
            None => Ok(()),
        }
    }
}

impl<R: ReadAt> Ext4<R> {
    /// Reads an inode that is in use.
    pub fn inode(&self, number: u32) -> Result<Inode, Error> {
        let sb = &self.superblock;
        let damaged = |what: &str| Error::Damaged(format!("inode {number} {what}"));
        if number == 0 || number > sb.inodes {
            return Err(damaged(&format!("does not exist, there are {}", sb.inodes)));
        }
        let (group, slot) = ((number - 1) / sb.inodes_per_group, (number - 1) % sb.inodes_per_group);
        let mut raw = self.raw_inode(self.table_of(group)?, slot)?;
        let generation = le32(&raw, 0x64);
        let seed = checksum::update(sb.seed, &number.to_le_bytes());
        let seed = checksum::update(seed, &generation.to_le_bytes());
        let mode = le16(&raw, 0);
        if mode == 0 && raw.iter().all(|b| *b == 0) {
            return Err(damaged("is not in use"));
        }
        if sb.has_checksums() {
            check_sum(number, &mut raw, seed)?;
        }
        let kind = match mode >> 12 {
            0x8 => Kind::File,
            0x4 => Kind::Directory,
            0xa => Kind::Symlink,
            0x1 | 0x2 | 0x6 | 0xc => Kind::Other,
            _ => return Err(damaged(&format!("has the mode {mode:o}, which is of no kind of file"))),
        };
        let links = le16(&raw, 0x1a);
        if links == 0 {
            return Err(damaged("is deleted"));
        }
        let high = |at: usize| u32::from(le16(&raw, at)) << 16;
        let mut block = [0; 60];
        block.copy_from_slice(&raw[0x28..0x64]);
        let long = matches!(kind, Kind::File | Kind::Directory);
        let size_high = if long { u64::from(le32(&raw, 0x6c)) << 32 } else { 0 };
        Ok(Inode {
            number,
            kind,
            mode: mode & 0o7777,
            uid: u32::from(le16(&raw, 2)) | high(0x78),
            gid: u32::from(le16(&raw, 0x18)) | high(0x7a),
            mtime: mtime(&raw),
            links,
            size: u64::from(le32(&raw, 4)) | size_high,
            has_attributes: has_attributes(&raw),
            has_blocks: has_blocks(&raw, sb.block_size),
            flags: le32(&raw, 0x20),
            block,
            seed,
        })
    }

    /// The bytes of an inode; those around it are kept, for they are asked for next.
    pub(crate) fn raw_inode(&self, table: u64, slot: u32) -> Result<Vec<u8>, Error> {
        let (unit, size) = (self.superblock.block_size, u64::from(self.superblock.inode_size));
        let at = table.saturating_mul(unit).saturating_add(u64::from(slot) * size);
        let (start, within) = (at / unit * unit, num::to_usize(at % unit));
        let mut kept = self.inodes.borrow_mut();
        if kept.0 != start || kept.1.is_empty() {
            kept.1.clear();
            let mut block = vec![0; num::to_usize(unit)];
            self.read(start, &mut block)?;
            *kept = (start, block);
        }
        Ok(kept.1[within..within + num::to_usize(size)].to_vec())
    }

    /// Compares the checksum of an inode that may be in any state.
    pub(crate) fn check_inode(&self, number: u32, table: u64, slot: u32) -> Result<(), Error> {
        let mut raw = self.raw_inode(table, slot)?;
        if !self.superblock.has_checksums() || raw.iter().all(|b| *b == 0) {
            return Ok(());
        }
        let seed = checksum::update(self.superblock.seed, &number.to_le_bytes());
        let seed = checksum::update(seed, &le32(&raw, 0x64).to_le_bytes());
        check_sum(number, &mut raw, seed)
    }

    /// The first block of the inode table of a group.
    fn table_of(&self, group: u32) -> Result<u64, Error> {
        if let Some((kept, table)) = self.table.get()
            && kept == group
        {
            return Ok(table);
        }
        let descriptor = self.descriptor(group)?;
        let high = if descriptor.len() >= 64 { u64::from(le32(&descriptor, 0x28)) << 32 } else { 0 };
        let table = u64::from(le32(&descriptor, 8)) | high;
        if table == 0 || table >= self.superblock.blocks {
            return Err(Error::Damaged(format!(
                "the inode table of group {group} is said to be at block {table} of {}",
                self.superblock.blocks
            )));
        }
        self.table.set(Some((group, table)));
        Ok(table)
    }

    /// The descriptor of a group, whose checksum is right.
    pub(crate) fn descriptor(&self, group: u32) -> Result<Vec<u8>, Error> {
        let sb = &self.superblock;
        let size = u64::from(sb.descriptor_size);
        let per_block = sb.block_size / size;
        let block = sb.descriptor_block(u64::from(group) / per_block);
        let within = u64::from(group) % per_block * size;
        let mut raw = vec![0; usize::from(sb.descriptor_size)];
        self.read(block.saturating_mul(sb.block_size).saturating_add(within), &mut raw)?;
        if sb.has_checksums() {
            let stored = le16(&raw, 0x1e);
            raw[0x1e..0x20].fill(0);
            let sum = checksum::update(checksum::update(sb.seed, &group.to_le_bytes()), &raw);
            let computed = checksum::low16(sum);
            if computed != stored {
                return Err(Error::Checksum {
                    what: format!("the descriptor of group {group}"),
                    stored: stored.into(),
                    computed: computed.into(),
                });
            }
        }
        Ok(raw)
    }
}

/// Whether an inode has extended attributes, in a block of their own or behind its fields.
fn has_attributes(raw: &[u8]) -> bool {
    if le32(raw, 0x68) != 0 || le16(raw, 0x76) != 0 {
        return true;
    }
    if raw.len() <= 0x82 {
        return false;
    }
    let at = 128 + usize::from(le16(raw, 0x80));
    at + 8 <= raw.len() && le32(raw, at) == ATTRIBUTES && le32(raw, at + 4) != 0
}

/// Whether i_blocks counts more than a block of attributes: Linux takes a symlink without for one that is in its inode.
fn has_blocks(raw: &[u8], block_size: u64) -> bool {
    let sectors = u64::from(le32(raw, 0x1c)) | u64::from(le16(raw, 0x74)) << 32;
    let attributes = if le32(raw, 0x68) != 0 || le16(raw, 0x76) != 0 { block_size / 512 } else { 0 };
    sectors != attributes
}

/// Seconds since 1970: 32 bits with a sign, and two more above them where the inode has room.
fn mtime(raw: &[u8]) -> i64 {
    let seconds = i64::from(i32::from_le_bytes([raw[0x10], raw[0x11], raw[0x12], raw[0x13]]));
    let has_extra = raw.len() >= 0x8c && le16(raw, 0x80) >= 12;
    let extra = if has_extra { i64::from(le32(raw, 0x88) & 3) } else { 0 };
    seconds + (extra << 32)
}

/// Compares the checksum of an inode, whose fields become zero.
fn check_sum(number: u32, raw: &mut [u8], seed: u32) -> Result<(), Error> {
    let low = le16(raw, 0x7c);
    raw[0x7c..0x7e].fill(0);
    let has_high = raw.len() >= 0x84 && le16(raw, 0x80) >= 4;
    let high = if has_high { le16(raw, 0x82) } else { 0 };
    if has_high {
        raw[0x82..0x84].fill(0);
    }
    let sum = checksum::update(seed, raw);
    let stored = u32::from(low) | u32::from(high) << 16;
    let computed = if has_high { sum } else { u32::from(checksum::low16(sum)) };
    if stored != computed {
        return Err(Error::Checksum { what: format!("inode {number}"), stored, computed });
    }
    Ok(())
}
