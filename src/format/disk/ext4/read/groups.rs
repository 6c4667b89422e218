//! The groups: what they say is in use, and whether their checksums and counts are right.
//!
//! Source: kernel `fs/ext4/bitmap.c`.

use super::error::Error;
use super::file_system::Ext4;
use crate::format::disk::ext4::ondisk::group::{
    self, BG_BLOCK_BITMAP, BG_BLOCK_BITMAP_CSUM, BG_FLAGS, BG_FREE_BLOCKS_COUNT, BG_FREE_INODES_COUNT,
    BG_INODE_BITMAP, BG_INODE_BITMAP_CSUM, BG_INODE_TABLE, BLOCK_UNINIT, INODE_UNINIT,
};
use crate::ints;
use crate::stream::ReadAt;

/// The bitmaps that were read last, one of each kind.
pub struct Groups<'a, R> {
    fs: &'a Ext4<R>,
    blocks: Option<(u64, Vec<u8>)>,
    inodes: Option<(u32, Vec<u8>)>,
}

/// What is wrong, one thing after the other; `false` to stop.
pub type Faults<'a> = dyn FnMut(Error) -> bool + 'a;

impl<R: ReadAt> Ext4<R> {
    /// Looks at its groups.
    pub fn groups(&self) -> Groups<'_, R> {
        Groups { fs: self, blocks: None, inodes: None }
    }
}

/// The two kinds of bitmap.
#[derive(Clone, Copy)]
enum Map {
    Blocks,
    Inodes,
}

impl Map {
    const fn name(self) -> &'static str {
        match self {
            Self::Blocks => "block",
            Self::Inodes => "inode",
        }
    }
}

impl<R: ReadAt> Groups<'_, R> {
    /// Checks descriptors, bitmaps, their counts, and the checksum of every inode in use.
    pub fn check(&mut self, faults: &mut Faults<'_>) {
        let groups = u32::try_from(self.fs.superblock.groups()).unwrap_or(u32::MAX);
        for group in 0..groups {
            if let Err(error) = self.check_group(group, faults)
                && !faults(error)
            {
                return;
            }
        }
    }

    /// Whether all blocks of a run are marked as in use.
    pub fn uses(&mut self, start: u64, len: u64) -> Result<bool, Error> {
        let sb = &self.fs.superblock;
        let (first, per_group) = (sb.first_data_block, sb.blocks_per_group);
        for block in start..start.saturating_add(len) {
            let Some(within) = block.checked_sub(first) else { return Ok(false) };
            let (group, bit) = (within / per_group, within % per_group);
            if self.blocks.as_ref().is_none_or(|(kept, _)| *kept != group) {
                let number =
                    u32::try_from(group).map_err(|_| Error::Damaged("it has too many groups".into()))?;
                let descriptor = self.fs.descriptor(number)?;
                let map = match BG_FLAGS.get(&descriptor) & BLOCK_UNINIT {
                    0 => self.bitmap(&descriptor, Map::Blocks)?,
                    // Only the kernel's own metadata are in such a group.
                    _ => Vec::new(),
                };
                self.blocks = Some((group, map));
            }
            let map = self.blocks.as_ref().map_or(&[][..], |(_, map)| map);
            if !is_set(map, bit) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether an inode is marked as in use.
    pub fn uses_inode(&mut self, number: u32) -> Result<bool, Error> {
        let per_group = self.fs.superblock.inodes_per_group;
        let (group, bit) = (number.saturating_sub(1) / per_group, number.saturating_sub(1) % per_group);
        if self.inodes.as_ref().is_none_or(|(kept, _)| *kept != group) {
            let descriptor = self.fs.descriptor(group)?;
            let map = match BG_FLAGS.get(&descriptor) & INODE_UNINIT {
                0 => self.bitmap(&descriptor, Map::Inodes)?,
                _ => Vec::new(),
            };
            self.inodes = Some((group, map));
        }
        let map = self.inodes.as_ref().map_or(&[][..], |(_, map)| map);
        Ok(is_set(map, u64::from(bit)))
    }

    fn check_group(&mut self, group: u32, faults: &mut Faults<'_>) -> Result<(), Error> {
        let descriptor = self.fs.descriptor(group)?;
        let sb = &self.fs.superblock;
        if BG_FLAGS.get(&descriptor) & BLOCK_UNINIT == 0 {
            let map = self.bitmap(&descriptor, Map::Blocks)?;
            let begin = sb.first_data_block + u64::from(group) * sb.blocks_per_group;
            let blocks = sb.blocks.saturating_sub(begin).min(sb.blocks_per_group);
            let bytes = ints::to_usize(sb.blocks_per_group / 8);
            self.check_map(
                (group, Map::Blocks),
                &map[..bytes],
                BG_BLOCK_BITMAP_CSUM.get(&descriptor),
                &descriptor,
            )?;
            check_count((group, Map::Blocks), &map, blocks, BG_FREE_BLOCKS_COUNT.get(&descriptor))?;
        }
        if BG_FLAGS.get(&descriptor) & INODE_UNINIT != 0 {
            return Ok(());
        }
        let map = self.bitmap(&descriptor, Map::Inodes)?;
        let inodes = sb.inodes_per_group;
        let bytes = ints::to_usize(u64::from(inodes / 8));
        self.check_map(
            (group, Map::Inodes),
            &map[..bytes],
            BG_INODE_BITMAP_CSUM.get(&descriptor),
            &descriptor,
        )?;
        check_count((group, Map::Inodes), &map, u64::from(inodes), BG_FREE_INODES_COUNT.get(&descriptor))?;
        // No checksum is over the rest of the block, which e2fsck wants to be ones.
        if map[bytes..].iter().any(|byte| *byte != 0xff) {
            let error = Error::Damaged(format!("the end of the inode bitmap of group {group} is not padded"));
            if !faults(error) {
                return Ok(());
            }
        }
        let table = BG_INODE_TABLE.get(&descriptor);
        for slot in (0..inodes).filter(|slot| is_set(&map, u64::from(*slot))) {
            if let Err(error) = self.fs.check_inode(group * inodes + slot + 1, table, slot)
                && !faults(error)
            {
                break;
            }
        }
        Ok(())
    }

    fn bitmap(&self, descriptor: &[u8], map: Map) -> Result<Vec<u8>, Error> {
        let block = match map {
            Map::Blocks => BG_BLOCK_BITMAP.get(descriptor),
            Map::Inodes => BG_INODE_BITMAP.get(descriptor),
        };
        let unit = self.fs.superblock.block_size;
        let mut bytes = vec![0; ints::to_usize(unit)];
        self.fs.read(block.saturating_mul(unit), &mut bytes)?;
        Ok(bytes)
    }

    fn check_map(
        &self,
        (group, map): (u32, Map),
        bytes: &[u8],
        stored: u32,
        descriptor: &[u8],
    ) -> Result<(), Error> {
        if !self.fs.superblock.has_checksums() {
            return Ok(());
        }
        let computed = group::bitmap_sum(self.fs.superblock.seed, bytes, descriptor.len());
        if stored == computed {
            return Ok(());
        }
        Err(Error::Checksum { what: format!("the {} bitmap of group {group}", map.name()), stored, computed })
    }
}

fn is_set(map: &[u8], bit: u64) -> bool {
    map.get(ints::to_usize(bit / 8)).is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
}

/// Compares the free bits of a bitmap with the count of a descriptor.
fn check_count((group, map): (u32, Map), bytes: &[u8], bits: u64, stored: u32) -> Result<(), Error> {
    let whole = ints::to_usize(bits / 8);
    let ones: u32 = bytes[..whole].iter().map(|byte| byte.count_ones()).sum();
    let rest = (bits / 8 * 8..bits).map(|bit| u32::from(is_set(bytes, bit))).sum::<u32>();
    let free = bits.saturating_sub(u64::from(ones + rest));
    if free == u64::from(stored) {
        return Ok(());
    }
    Err(Error::Damaged(format!(
        "group {group} says {stored} of its {}s are free, its bitmap {free}",
        map.name()
    )))
}
