//! Makes a file system of ours longer, where it is and unmounted, without moving anything.
//!
//! What the kernel does when it grows one online, done before the first boot: descriptors go on in the blocks that were
//! reserved for them, new groups carry their own bitmaps and inode tables, backups follow, the resize inode gives up
//! what was used and lists the new backups. Only the features that nixflash makes are handled. Sources: kernel
//! `fs/ext4/resize.c`, e2fsprogs `lib/ext2fs/res_gdt.c` for the resize inode.

use crate::format::disk::ext4::ondisk::checksum;
use crate::format::disk::ext4::write::geometry::{GROUP_BLOCKS, has_backup};
use crate::num;
use crate::stream::ReadAt;
use std::io;

const BLOCK: u64 = 4096;
const DESCRIPTOR: u64 = 32;
const PER_BLOCK: u64 = BLOCK / DESCRIPTOR;
/// The resize inode, and where in it the double indirect block is named.
const RESIZE_INODE: u32 = 7;
const DOUBLE_INDIRECT: usize = 40 + 13 * 4;
/// Blocks that the last group must have beside its own metadata: the end of a card is written apart.
const LAST_GROUP_SLACK: u64 = 1024;
const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;
/// `filetype`, `extent`, `flex_bg`; nothing else.
const INCOMPAT: u32 = 0x2 | 0x40 | 0x200;
const RESIZE: u32 = 0x10;
const SPARSE_SUPER2: u32 = 0x200;
const SPARSE_SUPER: u32 = 0x1;
const METADATA_CSUM: u32 = 0x400;
const BIGALLOC: u32 = 0x200;

/// A file system cannot be made longer.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    /// It is not of the kind that nixflash makes.
    #[error("{0}")]
    Foreign(String),
    /// It cannot be read.
    #[error("cannot read its metadata: {0}")]
    Read(io::Error),
}

fn foreign(what: impl Into<String>) -> GrowError {
    GrowError::Foreign(what.into())
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn put16(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes()[..2]);
}

fn put32(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes()[..4]);
}

/// Blocks to write, at places in bytes from the start of the file system.
pub type Changes = Vec<(u64, Vec<u8>)>;

/// What has to be written to make the file system fill `len` bytes, the superblock last, and its new length in bytes.
/// `None` when it is as long as it can be.
pub fn grow(disk: &dyn ReadAt, len: u64) -> Result<Option<(u64, Changes)>, GrowError> {
    let old = Old::read(disk)?;
    let Some(new) = New::of(&old, len) else { return Ok(None) };
    let mut growth = Growth { disk, old, new, changes: Vec::new(), free: 0, overhead: 0 };
    growth.fill_last_group()?;
    growth.add_groups();
    growth.resize_inode()?;
    growth.finish();
    Ok(Some((growth.new.blocks * BLOCK, growth.changes)))
}

fn read(disk: &dyn ReadAt, block: u64, blocks: u64) -> Result<Vec<u8>, GrowError> {
    let mut bytes = vec![0; num::to_usize(blocks * BLOCK)];
    disk.read_exact_at(&mut bytes, block * BLOCK).map_err(GrowError::Read)?;
    Ok(bytes)
}

/// The file system as it is.
struct Old {
    /// The first block, with the superblock in it.
    first: Vec<u8>,
    descriptors: Vec<u8>,
    blocks: u64,
    groups: u64,
    inodes_per_group: u64,
    table: u64,
    descriptor_blocks: u64,
    reserved: u64,
    seed: u32,
}

impl Old {
    fn read(disk: &dyn ReadAt) -> Result<Self, GrowError> {
        let first = read(disk, 0, 1)?;
        let s = &first[1024..2048];
        if le16(s, 0x38) != 0xef53 {
            return Err(foreign("it holds no ext4"));
        }
        let (compat, incompat, ro) = (le32(s, 0x5c), le32(s, 0x60), le32(s, 0x64));
        let is_ours = incompat == INCOMPAT
            && compat & (RESIZE | SPARSE_SUPER2) == RESIZE
            && ro & (SPARSE_SUPER | METADATA_CSUM | BIGALLOC) == SPARSE_SUPER | METADATA_CSUM
            && le32(s, 0x18) == 2
            && le32(s, 0x14) == 0
            && u64::from(le32(s, 0x20)) == GROUP_BLOCKS
            && le16(s, 0x58) == 256;
        if !is_ours {
            return Err(foreign("its ext4 has other features than nixflash makes"));
        }
        if checksum::update(u32::MAX, &s[..0x3fc]) != le32(s, 0x3fc) || le16(s, 0x3a) & 3 != 1 {
            return Err(foreign("its ext4 is damaged or was not unmounted"));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&s[0x68..0x78]);
        let (blocks, per_group) = (u64::from(le32(s, 4)), u64::from(le32(s, 0x28)));
        let groups = blocks.div_ceil(GROUP_BLOCKS);
        let fits = blocks > 0 && blocks * BLOCK <= disk.size() && groups * per_group == u64::from(le32(s, 0));
        if !fits || per_group == 0 || per_group % 16 != 0 || per_group > 8 * BLOCK {
            return Err(foreign("the counts of its ext4 cannot be right"));
        }
        let descriptor_blocks = groups.div_ceil(PER_BLOCK);
        let seed = checksum::file_system_seed(&id);
        let descriptors = read(disk, 1, descriptor_blocks)?;
        for (number, d) in (0..groups).zip(descriptors.chunks_exact(num::to_usize(DESCRIPTOR))) {
            if descriptor_sum(seed, number, d) != le16(d, 0x1e) || le16(d, 0x12) & BLOCK_UNINIT != 0 {
                return Err(foreign(format!(
                    "the descriptor of its group {number} is not as nixflash makes it"
                )));
            }
        }
        Ok(Self {
            reserved: le16(s, 0xce).into(),
            blocks,
            groups,
            inodes_per_group: per_group,
            table: per_group / 16,
            descriptor_blocks,
            seed,
            descriptors,
            first,
        })
    }
}

fn descriptor_sum(seed: u32, number: u64, d: &[u8]) -> u16 {
    let start = checksum::update(seed, &number.to_le_bytes()[..4]);
    checksum::low16(checksum::update(checksum::update(start, &d[..0x1e]), &[0, 0]))
}

/// The file system as it shall be.
struct New {
    blocks: u64,
    groups: u64,
    descriptor_blocks: u64,
    reserved: u64,
}

impl New {
    /// The longest that fits, is larger, and whose last group is large enough to be one.
    fn of(old: &Old, len: u64) -> Option<Self> {
        let most = (old.descriptor_blocks + old.reserved) * PER_BLOCK;
        let most = most.min(u64::from(u32::MAX) / old.inodes_per_group) * GROUP_BLOCKS;
        let mut blocks = (len / BLOCK).min(most).min(u64::from(u32::MAX));
        let rest = blocks % GROUP_BLOCKS;
        let shape = |blocks: u64| {
            let groups = blocks.div_ceil(GROUP_BLOCKS);
            let descriptor_blocks = groups.div_ceil(PER_BLOCK).max(old.descriptor_blocks);
            let reserved = (old.descriptor_blocks + old.reserved).checked_sub(descriptor_blocks)?;
            Some(Self { blocks, groups, descriptor_blocks, reserved })
        };
        let own = shape(blocks).map(|new| new.backup_blocks() + 2 + old.table + LAST_GROUP_SLACK)?;
        if rest > 0 && rest < own && blocks.div_ceil(GROUP_BLOCKS) > old.groups {
            blocks -= rest;
        }
        (blocks > old.blocks).then(|| shape(blocks)).flatten()
    }

    /// Blocks of a backup: superblock, descriptors, what is reserved for more.
    const fn backup_blocks(&self) -> u64 {
        1 + self.descriptor_blocks + self.reserved
    }

    fn len_of(&self, group: u64) -> u64 {
        GROUP_BLOCKS.min(self.blocks - group * GROUP_BLOCKS)
    }

    fn backups(&self) -> impl Iterator<Item = u64> {
        (1..self.groups).filter(|group| has_backup(*group))
    }
}

struct Growth<'a> {
    disk: &'a dyn ReadAt,
    old: Old,
    new: New,
    changes: Changes,
    /// Blocks that became free, and blocks that became metadata.
    free: u64,
    overhead: u64,
}

impl Growth<'_> {
    fn descriptor(&mut self, group: u64) -> &mut [u8] {
        let at = num::to_usize(group * DESCRIPTOR);
        &mut self.old.descriptors[at..at + num::to_usize(DESCRIPTOR)]
    }

    fn sign_descriptor(&mut self, group: u64) {
        let seed = self.old.seed;
        let d = self.descriptor(group);
        let sum = descriptor_sum(seed, group, d);
        put16(d, 0x1e, sum.into());
    }

    /// The last group of old gets the blocks up to its end.
    fn fill_last_group(&mut self) -> Result<(), GrowError> {
        let last = self.old.groups - 1;
        let (before, now) = (self.old.blocks - last * GROUP_BLOCKS, self.new.len_of(last));
        if before == now {
            return Ok(());
        }
        let at = u64::from(le32(self.descriptor(last), 0));
        let mut bitmap = read(self.disk, at, 1)?;
        if u32::from(checksum::low16(checksum::update(self.old.seed, &bitmap)))
            != u32::from(le16(self.descriptor(last), 0x18))
        {
            return Err(foreign(format!("the bitmap of its group {last} is damaged")));
        }
        for bit in before..now {
            bitmap[num::to_usize(bit / 8)] &= !(1 << (bit % 8));
        }
        let sum = checksum::low16(checksum::update(self.old.seed, &bitmap));
        let added = now - before;
        let d = self.descriptor(last);
        put16(d, 0x0c, u64::from(le16(d, 0x0c)) + added);
        put16(d, 0x18, sum.into());
        self.sign_descriptor(last);
        self.free += added;
        self.changes.push((at * BLOCK, bitmap));
        Ok(())
    }

    /// Each new group carries its bitmaps and its inode table, behind the backup that it may have.
    fn add_groups(&mut self) {
        self.old.descriptors.resize(num::to_usize(self.new.descriptor_blocks * BLOCK), 0);
        for group in self.old.groups..self.new.groups {
            let (start, len) = (group * GROUP_BLOCKS, self.new.len_of(group));
            let backup = if has_backup(group) { self.new.backup_blocks() } else { 0 };
            let used = backup + 2 + self.old.table;
            let mut bitmap = vec![0; num::to_usize(BLOCK)];
            for bit in (0..used).chain(len..GROUP_BLOCKS) {
                bitmap[num::to_usize(bit / 8)] |= 1 << (bit % 8);
            }
            let sum = checksum::low16(checksum::update(self.old.seed, &bitmap));
            let inodes = self.old.inodes_per_group;
            let d = self.descriptor(group);
            for (at, block) in [(0, backup), (4, backup + 1), (8, backup + 2)] {
                put32(d, at, start + block);
            }
            for (at, value) in [
                (0x0c, len - used),
                (0x0e, inodes),
                (0x12, INODE_UNINIT.into()),
                (0x18, sum.into()),
                (0x1c, inodes),
            ] {
                put16(d, at, value);
            }
            self.sign_descriptor(group);
            self.free += len - used;
            self.overhead += used;
            self.changes.push(((start + backup) * BLOCK, bitmap));
        }
    }

    /// Takes used descriptor blocks out of the resize inode, and puts new backups into what it still reserves.
    fn resize_inode(&mut self) -> Result<(), GrowError> {
        let table = u64::from(le32(self.descriptor(0), 8));
        let mut inodes = read(self.disk, table, 1)?;
        let at = num::to_usize(u64::from(RESIZE_INODE - 1) * 256);
        let inode = &mut inodes[at..at + 256];
        let double = u64::from(le32(inode, DOUBLE_INDIRECT));
        if double == 0 || double >= self.old.blocks {
            return Err(foreign("its resize inode is not as nixflash makes it"));
        }
        let mut index = read(self.disk, double, 1)?;
        let (first, end) = (self.old.descriptor_blocks, self.old.descriptor_blocks + self.old.reserved);
        for block in first..end {
            let slot = num::to_usize(block % (BLOCK / 4)) * 4;
            if u64::from(le32(&index, slot)) != block + 1 {
                return Err(foreign("its resize inode is not as nixflash makes it"));
            }
            if block < self.new.descriptor_blocks {
                put32(&mut index, slot, 0);
                continue;
            }
            let mut list = read(self.disk, block + 1, 1)?;
            for (slot, group) in self.new.backups().enumerate() {
                let expected = block + 1 + group * GROUP_BLOCKS;
                if group < self.old.groups && u64::from(le32(&list, slot * 4)) != expected {
                    return Err(foreign("its resize inode is not as nixflash makes it"));
                }
                put32(&mut list, slot * 4, expected);
            }
            self.changes.push(((block + 1) * BLOCK, list));
        }
        let backups = num::to_u64(self.new.backups().count());
        put32(inode, 28, (1 + self.new.reserved * (1 + backups)) * (BLOCK / 512));
        put16(inode, 0x7c, 0);
        put16(inode, 0x82, 0);
        let generation = le32(inode, 0x64).to_le_bytes();
        let seed =
            checksum::update(checksum::update(self.old.seed, &RESIZE_INODE.to_le_bytes()), &generation);
        let sum = checksum::update(seed, inode);
        put16(inode, 0x7c, checksum::low16(sum).into());
        put16(inode, 0x82, checksum::high16(sum).into());
        self.changes.push((double * BLOCK, index));
        self.changes.push((table * BLOCK, inodes));
        Ok(())
    }

    /// Descriptors and superblocks: the backups first, the superblock last.
    fn finish(&mut self) {
        let mut first = std::mem::take(&mut self.old.first);
        let s = &mut first[1024..2048];
        let (blocks, groups) = (self.new.blocks, self.new.groups);
        let kept = u64::from(le32(s, 8)) * blocks / self.old.blocks;
        let added = (groups - self.old.groups) * self.old.inodes_per_group;
        for (at, value) in [
            (0x00, u64::from(le32(s, 0x00)) + added),
            (0x04, blocks),
            (0x08, kept),
            (0x0c, u64::from(le32(s, 0x0c)) + self.free),
            (0x10, u64::from(le32(s, 0x10)) + added),
            (0x248, u64::from(le32(s, 0x248)) + self.overhead),
        ] {
            put32(s, at, value);
        }
        put16(s, 0xce, self.new.reserved);
        for group in self.new.backups() {
            let mut backup = vec![0; num::to_usize(BLOCK)];
            backup[..1024].copy_from_slice(s);
            put16(&mut backup, 0x5a, group);
            sign(&mut backup[..1024]);
            let start = group * GROUP_BLOCKS * BLOCK;
            self.changes.push((start + BLOCK, self.old.descriptors.clone()));
            self.changes.push((start, backup));
        }
        self.changes.push((BLOCK, self.old.descriptors.clone()));
        sign(s);
        self.changes.push((0, first));
    }
}

fn sign(superblock: &mut [u8]) {
    let sum = checksum::update(u32::MAX, &superblock[..0x3fc]);
    put32(superblock, 0x3fc, sum.into());
}
