//! The groups: what they say is in use, and whether their checksums and counts are right.
//!
//! ```text
//! descriptor  00 block bitmap  04 inode bitmap  08 inode table  0c free blocks u16  0e free inodes u16  12 flags u16
//!             18 checksum of the block bitmap u16  1a that of the inode bitmap u16  1c unused inodes u16
//!             wide: 20, 24, 28 the high halves, 2c, 2e, 32, 38, 3a likewise
//! ```
//! Source: kernel `fs/ext4/ext4.h` (`struct ext4_group_desc`), `fs/ext4/bitmap.c`.

use super::{Error, Ext4, le16, le32};
use crate::format::disk::ext4::ondisk::checksum;
use crate::num;
use crate::stream::ReadAt;

const INODES_UNUSED: u16 = 1;
const BLOCKS_UNUSED: u16 = 2;
/// Bytes of a descriptor that has high halves.
const WIDE: usize = 64;

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

/// One group's descriptor, of either length.
struct Descriptor(Vec<u8>);

impl Descriptor {
    fn flags(&self) -> u16 {
        le16(&self.0, 0x12)
    }

    fn half(&self, low: usize, high: usize) -> u32 {
        let wide = self.0.len() >= WIDE;
        u32::from(le16(&self.0, low)) | if wide { u32::from(le16(&self.0, high)) << 16 } else { 0 }
    }

    fn place(&self, low: usize, high: usize) -> u64 {
        let wide = self.0.len() >= WIDE;
        u64::from(le32(&self.0, low)) | if wide { u64::from(le32(&self.0, high)) << 32 } else { 0 }
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
                let descriptor = Descriptor(self.fs.descriptor(number)?);
                let map = match descriptor.flags() & BLOCKS_UNUSED {
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
            let descriptor = Descriptor(self.fs.descriptor(group)?);
            let map = match descriptor.flags() & INODES_UNUSED {
                0 => self.bitmap(&descriptor, Map::Inodes)?,
                _ => Vec::new(),
            };
            self.inodes = Some((group, map));
        }
        let map = self.inodes.as_ref().map_or(&[][..], |(_, map)| map);
        Ok(is_set(map, u64::from(bit)))
    }

    fn check_group(&mut self, group: u32, faults: &mut Faults<'_>) -> Result<(), Error> {
        let descriptor = Descriptor(self.fs.descriptor(group)?);
        let sb = &self.fs.superblock;
        if descriptor.flags() & BLOCKS_UNUSED == 0 {
            let map = self.bitmap(&descriptor, Map::Blocks)?;
            let begin = sb.first_data_block + u64::from(group) * sb.blocks_per_group;
            let blocks = sb.blocks.saturating_sub(begin).min(sb.blocks_per_group);
            let bytes = num::to_usize(sb.blocks_per_group / 8);
            self.check_map((group, Map::Blocks), &map[..bytes], descriptor.half(0x18, 0x38), &descriptor)?;
            check_count((group, Map::Blocks), &map, blocks, descriptor.half(0xc, 0x2c))?;
        }
        if descriptor.flags() & INODES_UNUSED != 0 {
            return Ok(());
        }
        let map = self.bitmap(&descriptor, Map::Inodes)?;
        let inodes = sb.inodes_per_group;
        let bytes = num::to_usize(u64::from(inodes / 8));
        self.check_map((group, Map::Inodes), &map[..bytes], descriptor.half(0x1a, 0x3a), &descriptor)?;
        check_count((group, Map::Inodes), &map, u64::from(inodes), descriptor.half(0xe, 0x2e))?;
        // No checksum is over the rest of the block, which e2fsck wants to be ones.
        if map[bytes..].iter().any(|byte| *byte != 0xff) {
            let error = Error::Damaged(format!("the end of the inode bitmap of group {group} is not padded"));
            if !faults(error) {
                return Ok(());
            }
        }
        let table = descriptor.place(8, 0x28);
        for slot in (0..inodes).filter(|slot| is_set(&map, u64::from(*slot))) {
            if let Err(error) = self.fs.check_inode(group * inodes + slot + 1, table, slot)
                && !faults(error)
            {
                break;
            }
        }
        Ok(())
    }

    fn bitmap(&self, descriptor: &Descriptor, map: Map) -> Result<Vec<u8>, Error> {
        let block = match map {
            Map::Blocks => descriptor.place(0, 0x20),
            Map::Inodes => descriptor.place(4, 0x24),
        };
        let unit = self.fs.superblock.block_size;
        let mut bytes = vec![0; num::to_usize(unit)];
        self.fs.read(block.saturating_mul(unit), &mut bytes)?;
        Ok(bytes)
    }

    fn check_map(
        &self,
        (group, map): (u32, Map),
        bytes: &[u8],
        stored: u32,
        descriptor: &Descriptor,
    ) -> Result<(), Error> {
        if !self.fs.superblock.has_checksums() {
            return Ok(());
        }
        let sum = checksum::update(self.fs.superblock.seed, bytes);
        let computed = if descriptor.0.len() >= WIDE { sum } else { u32::from(checksum::low16(sum)) };
        if stored == computed {
            return Ok(());
        }
        Err(Error::Checksum { what: format!("the {} bitmap of group {group}", map.name()), stored, computed })
    }
}

fn is_set(map: &[u8], bit: u64) -> bool {
    map.get(num::to_usize(bit / 8)).is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
}

/// Compares the free bits of a bitmap with the count of a descriptor.
fn check_count((group, map): (u32, Map), bytes: &[u8], bits: u64, stored: u32) -> Result<(), Error> {
    let whole = num::to_usize(bits / 8);
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
