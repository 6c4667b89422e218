//! Makes a file system of ours longer, where it is and unmounted, without moving anything.
//!
//! What the kernel does when it grows one online, done before the first boot: descriptors go on in the blocks that were
//! reserved for them, new groups carry their own bitmaps and inode tables, backups follow, the resize inode gives up
//! what was used and lists the new backups. Only the features that nixflash makes are handled. Sources: kernel
//! `fs/ext4/resize.c`, e2fsprogs `lib/ext2fs/res_gdt.c` for the resize inode.

use crate::bytes::Le32;
use crate::format::disk::ext4::ondisk::block::{
    BLOCK, DESCRIPTORS_PER_BLOCK, GROUP_BLOCKS, INODE_SIZE, INODE_SIZE_FIELD, INODES_PER_BLOCK,
    LOG_BLOCK_SIZE, POINTERS_PER_BLOCK,
};
use crate::format::disk::ext4::ondisk::feature::{
    COMPAT_RESIZE_INODE, COMPAT_SPARSE_SUPER2, Features, RO_COMPAT_BIGALLOC, RO_COMPAT_METADATA_CSUM,
    RO_COMPAT_SPARSE_SUPER,
};
use crate::format::disk::ext4::ondisk::group::{self, BLOCK_UNINIT, INODE_UNINIT, has_backup};
use crate::format::disk::ext4::ondisk::inode::{self, DIND_BLOCK, RESIZE_INO};
use crate::format::disk::ext4::ondisk::superblock::{self, ERROR_FS, VALID_FS};
use crate::ints;
use crate::stream::ReadAt;
use std::io;
use std::ops::Range;

/// Where in the first block the superblock is.
const SUPERBLOCK: Range<usize> = {
    let from = ints::to_usize(superblock::OFFSET);
    from..from + superblock::LEN
};
/// Blocks that the last group must have beside its own metadata: the end of a card is written apart.
const LAST_GROUP_SLACK: u64 = 1024;

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
    let mut bytes = vec![0; ints::to_usize(blocks * BLOCK)];
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
        let s = &first[SUPERBLOCK];
        if superblock::S_MAGIC.get(s) != superblock::MAGIC {
            return Err(foreign("it holds no ext4"));
        }
        if !is_ours(s) {
            return Err(foreign("its ext4 has other features than nixflash makes"));
        }
        let is_clean = superblock::S_STATE.get(s) & (VALID_FS | ERROR_FS) == VALID_FS;
        if superblock::sum(s) != superblock::S_CHECKSUM.get(s) || !is_clean {
            return Err(foreign("its ext4 is damaged or was not unmounted"));
        }
        let blocks = u64::from(superblock::S_BLOCKS_COUNT_LO.get(s));
        let per_group = u64::from(superblock::S_INODES_PER_GROUP.get(s));
        let groups = blocks.div_ceil(GROUP_BLOCKS);
        let inodes = u64::from(superblock::S_INODES_COUNT.get(s));
        let fits = blocks > 0 && blocks * BLOCK <= disk.size() && groups * per_group == inodes;
        if !fits || per_group == 0 || per_group % INODES_PER_BLOCK != 0 || per_group > 8 * BLOCK {
            return Err(foreign("the counts of its ext4 cannot be right"));
        }
        let descriptor_blocks = groups.div_ceil(DESCRIPTORS_PER_BLOCK);
        let seed = superblock::seed(s);
        let descriptors = read(disk, 1, descriptor_blocks)?;
        for (number, d) in (0..groups).zip(descriptors.chunks_exact(ints::to_usize(group::LEN))) {
            let sum = group::sum(seed, low32(number), d);
            if sum != group::BG_CHECKSUM.get(d) || group::BG_FLAGS.get(d) & BLOCK_UNINIT != 0 {
                return Err(foreign(format!(
                    "the descriptor of its group {number} is not as nixflash makes it"
                )));
            }
        }
        Ok(Self {
            reserved: superblock::S_RESERVED_GDT_BLOCKS.get(s).into(),
            blocks,
            groups,
            inodes_per_group: per_group,
            table: per_group / INODES_PER_BLOCK,
            descriptor_blocks,
            seed,
            descriptors,
            first,
        })
    }
}

/// Whether a superblock is of the kind that is made here, as far as growing depends on it.
fn is_ours(s: &[u8]) -> bool {
    let found = Features::of(s);
    found.incompat == Features::MADE.incompat
        && found.compat & (COMPAT_RESIZE_INODE | COMPAT_SPARSE_SUPER2) == COMPAT_RESIZE_INODE
        && found.ro_compat & (RO_COMPAT_SPARSE_SUPER | RO_COMPAT_METADATA_CSUM | RO_COMPAT_BIGALLOC)
            == RO_COMPAT_SPARSE_SUPER | RO_COMPAT_METADATA_CSUM
        && superblock::S_LOG_BLOCK_SIZE.get(s) == LOG_BLOCK_SIZE
        && superblock::S_FIRST_DATA_BLOCK.get(s) == 0
        && u64::from(superblock::S_BLOCKS_PER_GROUP.get(s)) == GROUP_BLOCKS
        && superblock::S_INODE_SIZE.get(s) == INODE_SIZE_FIELD
}

/// The number of a group, as its checksum takes it: there are fewer than 2^32 blocks.
fn low32(group: u64) -> u32 {
    u32::try_from(group).unwrap_or(u32::MAX)
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
        let most = (old.descriptor_blocks + old.reserved) * DESCRIPTORS_PER_BLOCK;
        let most = most.min(u64::from(u32::MAX) / old.inodes_per_group) * GROUP_BLOCKS;
        let mut blocks = (len / BLOCK).min(most).min(u64::from(u32::MAX));
        let rest = blocks % GROUP_BLOCKS;
        let shape = |blocks: u64| {
            let groups = blocks.div_ceil(GROUP_BLOCKS);
            let descriptor_blocks = groups.div_ceil(DESCRIPTORS_PER_BLOCK).max(old.descriptor_blocks);
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
        let at = ints::to_usize(group * group::LEN);
        &mut self.old.descriptors[at..at + ints::to_usize(group::LEN)]
    }

    fn sign_descriptor(&mut self, group: u64) {
        let seed = self.old.seed;
        group::sign(seed, low32(group), self.descriptor(group));
    }

    /// The last group of old gets the blocks up to its end.
    fn fill_last_group(&mut self) -> Result<(), GrowError> {
        let last = self.old.groups - 1;
        let (before, now) = (self.old.blocks - last * GROUP_BLOCKS, self.new.len_of(last));
        if before == now {
            return Ok(());
        }
        let seed = self.old.seed;
        let d = self.descriptor(last);
        let (at, stored) = (group::BG_BLOCK_BITMAP.get(d), group::BG_BLOCK_BITMAP_CSUM.get(d));
        let free = u64::from(group::BG_FREE_BLOCKS_COUNT.get(d));
        let mut bitmap = read(self.disk, at, 1)?;
        if bitmap_sum(seed, &bitmap) != stored {
            return Err(foreign(format!("the bitmap of its group {last} is damaged")));
        }
        for bit in before..now {
            bitmap[ints::to_usize(bit / 8)] &= !(1 << (bit % 8));
        }
        let added = now - before;
        let d = self.descriptor(last);
        group::BG_FREE_BLOCKS_COUNT.put(d, free + added);
        group::BG_BLOCK_BITMAP_CSUM.put(d, bitmap_sum(seed, &bitmap).into());
        self.sign_descriptor(last);
        self.free += added;
        self.changes.push((at * BLOCK, bitmap));
        Ok(())
    }

    /// Each new group carries its bitmaps and its inode table, behind the backup that it may have.
    fn add_groups(&mut self) {
        self.old.descriptors.resize(ints::to_usize(self.new.descriptor_blocks * BLOCK), 0);
        for group in self.old.groups..self.new.groups {
            let (start, len) = (group * GROUP_BLOCKS, self.new.len_of(group));
            let backup = if has_backup(group) { self.new.backup_blocks() } else { 0 };
            let used = backup + 2 + self.old.table;
            let mut bitmap = vec![0; ints::to_usize(BLOCK)];
            for bit in (0..used).chain(len..GROUP_BLOCKS) {
                bitmap[ints::to_usize(bit / 8)] |= 1 << (bit % 8);
            }
            let sum = bitmap_sum(self.old.seed, &bitmap);
            let inodes = self.old.inodes_per_group;
            let d = self.descriptor(group);
            group::BG_BLOCK_BITMAP.put(d, start + backup);
            group::BG_INODE_BITMAP.put(d, start + backup + 1);
            group::BG_INODE_TABLE.put(d, start + backup + 2);
            group::BG_FREE_BLOCKS_COUNT.put(d, len - used);
            group::BG_FREE_INODES_COUNT.put(d, inodes);
            group::BG_FLAGS.put(d, INODE_UNINIT);
            group::BG_BLOCK_BITMAP_CSUM.put(d, sum.into());
            group::BG_ITABLE_UNUSED.put(d, inodes);
            self.sign_descriptor(group);
            self.free += len - used;
            self.overhead += used;
            self.changes.push(((start + backup) * BLOCK, bitmap));
        }
    }

    /// Takes used descriptor blocks out of the resize inode, and puts new backups into what it still reserves.
    fn resize_inode(&mut self) -> Result<(), GrowError> {
        let table = group::BG_INODE_TABLE.get(self.descriptor(0));
        let mut inodes = read(self.disk, table, 1)?;
        let at = ints::to_usize(u64::from(RESIZE_INO - 1) * INODE_SIZE);
        let inode = &mut inodes[at..at + ints::to_usize(INODE_SIZE)];
        let double = u64::from(inode::pointer(DIND_BLOCK).get(inode));
        if double == 0 || double >= self.old.blocks {
            return Err(foreign("its resize inode is not as nixflash makes it"));
        }
        let mut index = read(self.disk, double, 1)?;
        let (first, end) = (self.old.descriptor_blocks, self.old.descriptor_blocks + self.old.reserved);
        for block in first..end {
            let slot = pointer(ints::to_usize(block % POINTERS_PER_BLOCK));
            if u64::from(slot.get(&index)) != block + 1 {
                return Err(foreign("its resize inode is not as nixflash makes it"));
            }
            if block < self.new.descriptor_blocks {
                slot.put(&mut index, 0);
                continue;
            }
            let mut list = read(self.disk, block + 1, 1)?;
            for (slot, group) in self.new.backups().enumerate() {
                let expected = block + 1 + group * GROUP_BLOCKS;
                if group < self.old.groups && u64::from(pointer(slot).get(&list)) != expected {
                    return Err(foreign("its resize inode is not as nixflash makes it"));
                }
                pointer(slot).put_low(&mut list, expected);
            }
            self.changes.push(((block + 1) * BLOCK, list));
        }
        let backups = ints::to_u64(self.new.backups().count());
        inode::I_BLOCKS_LO.put_low(inode, (1 + self.new.reserved * (1 + backups)) * (BLOCK / 512));
        inode::sign(inode::seed(self.old.seed, RESIZE_INO, inode::I_GENERATION.get(inode)), inode);
        self.changes.push((double * BLOCK, index));
        self.changes.push((table * BLOCK, inodes));
        Ok(())
    }

    /// Descriptors and superblocks: the backups first, the superblock last.
    fn finish(&mut self) {
        let mut first = std::mem::take(&mut self.old.first);
        let s = &mut first[SUPERBLOCK];
        let (blocks, groups) = (self.new.blocks, self.new.groups);
        let reserved = superblock::S_R_BLOCKS_COUNT_LO;
        let kept = u64::from(reserved.get(s)) * blocks / self.old.blocks;
        let added = (groups - self.old.groups) * self.old.inodes_per_group;
        superblock::S_BLOCKS_COUNT_LO.put_low(s, blocks);
        reserved.put_low(s, kept);
        for (count, more) in [
            (superblock::S_INODES_COUNT, added),
            (superblock::S_FREE_INODES_COUNT, added),
            (superblock::S_FREE_BLOCKS_COUNT_LO, self.free),
            (superblock::S_OVERHEAD_CLUSTERS, self.overhead),
        ] {
            let before = u64::from(count.get(s));
            count.put_low(s, before + more);
        }
        superblock::S_RESERVED_GDT_BLOCKS.put_low(s, self.new.reserved);
        for group in self.new.backups() {
            let mut backup = vec![0; ints::to_usize(BLOCK)];
            let copy = &mut backup[..superblock::LEN];
            copy.copy_from_slice(s);
            superblock::S_BLOCK_GROUP_NR.put_low(copy, group);
            superblock::sign(copy);
            let start = group * GROUP_BLOCKS * BLOCK;
            self.changes.push((start + BLOCK, self.old.descriptors.clone()));
            self.changes.push((start, backup));
        }
        self.changes.push((BLOCK, self.old.descriptors.clone()));
        superblock::sign(s);
        self.changes.push((0, first));
    }
}

/// The checksum of a block bitmap, in descriptors of 32 bytes.
fn bitmap_sum(seed: u32, bitmap: &[u8]) -> u32 {
    group::bitmap_sum(seed, bitmap, ints::to_usize(group::LEN))
}

/// A pointer in a block of pointers.
const fn pointer(slot: usize) -> Le32 {
    Le32(slot * Le32::LEN)
}
