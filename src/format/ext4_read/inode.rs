//! Inodes and the group descriptors that say where they are.

use super::{Error, Ext4, le16, le32};
use crate::format::ext4::checksum;
use crate::stream::ReadAt;

/// The inode's blocks are told by extents.
const EXTENTS: u32 = 0x8_0000;
/// The directory has an index in its first block.
const INDEX: u32 = 0x1000;
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
    pub(super) flags: u32,
    pub(super) block: [u8; 60],
    pub(super) seed: u32,
}

impl Inode {
    pub(super) const fn has_extents(&self) -> bool {
        self.flags & EXTENTS != 0
    }

    pub(super) const fn has_index(&self) -> bool {
        self.flags & INDEX != 0
    }

    /// Whether the target is in the inode itself.
    pub(super) fn is_fast_symlink(&self) -> bool {
        self.kind == Kind::Symlink && self.size < 60 && !self.has_extents()
    }

    /// Refuses what this reader would read wrongly.
    pub(super) fn check_readable(&self) -> Result<(), Error> {
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
        let table = self.table_of(group)?;
        let within = u64::from(slot) * u64::from(sb.inode_size);
        let mut raw = vec![0; usize::from(sb.inode_size)];
        self.read(table.saturating_mul(sb.block_size).saturating_add(within), &mut raw)?;
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
            flags: le32(&raw, 0x20),
            block,
            seed,
        })
    }

    /// The first block of the inode table of a group.
    fn table_of(&self, group: u32) -> Result<u64, Error> {
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
        let high = if sb.descriptor_size >= 64 { u64::from(le32(&raw, 0x28)) << 32 } else { 0 };
        let table = u64::from(le32(&raw, 8)) | high;
        if table == 0 || table >= sb.blocks {
            return Err(Error::Damaged(format!(
                "the inode table of group {group} is said to be at block {table} of {}",
                sb.blocks
            )));
        }
        Ok(table)
    }
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
