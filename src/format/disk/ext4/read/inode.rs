//! Inodes and the group descriptors that say where they are.

use super::error::Error;
use super::file_system::Ext4;
use crate::bytes::{Le16, Le32};
use crate::format::disk::ext4::ondisk::group;
use crate::format::disk::ext4::ondisk::inode::{
    self as ondisk, APPEND_FL, COMPR_FL, ENCRYPT_FL, EXTENTS_FL, I_BLOCK, IMMUTABLE_FL, INDEX_FL,
    INLINE_DATA_FL, ROOT_INO,
};
use crate::ints;
use crate::stream::ReadAt;

/// Flags of inodes whose contents are not where this reader looks.
const UNSUPPORTED: [(u32, &str); 3] =
    [(COMPR_FL, "compression"), (ENCRYPT_FL, "encrypt"), (INLINE_DATA_FL, "inline_data")];

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

/// An inode as it is read: the fields that a reader of files needs.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Its number in the table, from 1.
    pub number: u32,
    /// What it is.
    pub kind: Kind,
    /// Permissions: the low twelve bits of `st_mode`.
    pub mode: u16,
    /// The number of the owner, both halves of the field.
    pub uid: u32,
    /// The number of the group, both halves of the field.
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
    pub(crate) block: [u8; I_BLOCK.len()],
    pub(crate) seed: u32,
}

impl Inode {
    /// Whether it is immutable or append-only.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.flags & (IMMUTABLE_FL | APPEND_FL) != 0
    }

    pub(crate) const fn has_extents(&self) -> bool {
        self.flags & EXTENTS_FL != 0
    }

    pub(crate) const fn has_index(&self) -> bool {
        self.flags & INDEX_FL != 0
    }

    /// Whether the target is in the inode itself.
    pub(crate) fn is_fast_symlink(&self) -> bool {
        self.kind == Kind::Symlink && self.size < ints::to_u64(I_BLOCK.len()) && !self.has_extents()
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
    /// The root directory.
    pub fn root(&self) -> Result<Inode, Error> {
        let root = self.inode(ROOT_INO)?;
        match root.kind {
            Kind::Directory => Ok(root),
            _ => Err(Error::Damaged("its root is no directory".to_owned())),
        }
    }

    /// Reads an inode that is in use.
    pub fn inode(&self, number: u32) -> Result<Inode, Error> {
        let sb = &self.superblock;
        let damaged = |what: &str| Error::Damaged(format!("inode {number} {what}"));
        if number == 0 || number > sb.inodes {
            return Err(damaged(&format!("does not exist, there are {}", sb.inodes)));
        }
        let (group, slot) = ((number - 1) / sb.inodes_per_group, (number - 1) % sb.inodes_per_group);
        let raw = self.raw_inode(self.table_of(group)?, slot)?;
        let seed = ondisk::seed(sb.seed, number, ondisk::I_GENERATION.get(&raw));
        let mode = ondisk::I_MODE.get(&raw);
        if mode == 0 && raw.iter().all(|b| *b == 0) {
            return Err(damaged("is not in use"));
        }
        if sb.has_checksums() {
            check_sum(number, &raw, seed)?;
        }
        let kind = match mode >> 12 {
            0x8 => Kind::File,
            0x4 => Kind::Directory,
            0xa => Kind::Symlink,
            0x1 | 0x2 | 0x6 | 0xc => Kind::Other,
            _ => return Err(damaged(&format!("has the mode {mode:o}, which is of no kind of file"))),
        };
        let links = ondisk::I_LINKS_COUNT.get(&raw);
        if links == 0 {
            return Err(damaged("is deleted"));
        }
        let high = |field: Le16| u32::from(field.get(&raw)) << 16;
        let long = matches!(kind, Kind::File | Kind::Directory);
        let size_high = if long { u64::from(ondisk::I_SIZE_HIGH.get(&raw)) << 32 } else { 0 };
        Ok(Inode {
            number,
            kind,
            mode: mode & 0o7777,
            uid: u32::from(ondisk::I_UID.get(&raw)) | high(ondisk::I_UID_HIGH),
            gid: u32::from(ondisk::I_GID.get(&raw)) | high(ondisk::I_GID_HIGH),
            mtime: mtime(&raw),
            links,
            size: u64::from(ondisk::I_SIZE_LO.get(&raw)) | size_high,
            has_attributes: has_attributes(&raw),
            has_blocks: has_blocks(&raw, sb.block_size),
            flags: ondisk::I_FLAGS.get(&raw),
            block: I_BLOCK.get(&raw),
            seed,
        })
    }

    /// The bytes of an inode; those around it are kept, for they are asked for next.
    pub(crate) fn raw_inode(&self, table: u64, slot: u32) -> Result<Vec<u8>, Error> {
        let (unit, size) = (self.superblock.block_size, u64::from(self.superblock.inode_size));
        let at = table.saturating_mul(unit).saturating_add(u64::from(slot) * size);
        let (start, within) = (at / unit * unit, ints::to_usize(at % unit));
        let mut kept = self.inodes.borrow_mut();
        if kept.0 != start || kept.1.is_empty() {
            kept.1.clear();
            let mut block = vec![0; ints::to_usize(unit)];
            self.read(start, &mut block)?;
            *kept = (start, block);
        }
        Ok(kept.1[within..within + ints::to_usize(size)].to_vec())
    }

    /// Compares the checksum of an inode that may be in any state.
    pub(crate) fn check_inode(&self, number: u32, table: u64, slot: u32) -> Result<(), Error> {
        let raw = self.raw_inode(table, slot)?;
        if !self.superblock.has_checksums() || raw.iter().all(|b| *b == 0) {
            return Ok(());
        }
        let seed = ondisk::seed(self.superblock.seed, number, ondisk::I_GENERATION.get(&raw));
        check_sum(number, &raw, seed)
    }

    /// The first block of the inode table of a group.
    fn table_of(&self, group: u32) -> Result<u64, Error> {
        if let Some((kept, table)) = self.table.get()
            && kept == group
        {
            return Ok(table);
        }
        let descriptor = self.descriptor(group)?;
        let table = group::BG_INODE_TABLE.get(&descriptor);
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
            let (stored, computed) = (group::BG_CHECKSUM.get(&raw), group::sum(sb.seed, group, &raw));
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
    if ondisk::I_FILE_ACL_LO.get(raw) != 0 || ondisk::I_FILE_ACL_HIGH.get(raw) != 0 {
        return true;
    }
    if raw.len() <= ondisk::GOOD_OLD_SIZE {
        return false;
    }
    let (magic, first) = (Le32(0), Le32(Le32::LEN));
    let behind =
        raw.get(ondisk::GOOD_OLD_SIZE + usize::from(ondisk::I_EXTRA_ISIZE.get(raw))..).unwrap_or_default();
    magic.get(behind) == ondisk::XATTR_MAGIC && first.get(behind) != 0
}

/// Whether i_blocks counts more than a block of attributes: Linux takes a symlink without for one that is in its inode.
fn has_blocks(raw: &[u8], block_size: u64) -> bool {
    let (low, high) = (ondisk::I_BLOCKS_LO.get(raw), ondisk::I_BLOCKS_HIGH.get(raw));
    let has_acl = ondisk::I_FILE_ACL_LO.get(raw) != 0 || ondisk::I_FILE_ACL_HIGH.get(raw) != 0;
    let attributes = if has_acl { block_size / ondisk::SECTOR } else { 0 };
    u64::from(low) | u64::from(high) << 32 != attributes
}

/// Seconds since 1970: 32 bits with a sign, and two more above them where the inode has room.
fn mtime(raw: &[u8]) -> i64 {
    let seconds = i64::from(ondisk::I_MTIME.get(raw).cast_signed());
    let extra = ondisk::I_MTIME_EXTRA;
    let has_extra = ondisk::has_field(raw, extra.0 + Le32::LEN);
    let extra = if has_extra { i64::from(extra.get(raw) & 3) } else { 0 };
    seconds + (extra << 32)
}

/// Compares the checksum of an inode.
fn check_sum(number: u32, raw: &[u8], seed: u32) -> Result<(), Error> {
    let ondisk::Sum { stored, computed } = ondisk::sum(seed, raw);
    if stored != computed {
        return Err(Error::Checksum { what: format!("inode {number}"), stored, computed });
    }
    Ok(())
}
