//! Reads a VDI of whoever wrote it.

use super::ondisk;
use crate::format::disk::container::blocks::{Blocks, Place, Table};
use crate::format::disk::container::disk::{Disk, MAX_LEN};
use crate::format::disk::container::error::Error;
use crate::format::disk::container::kind::Kind;
use crate::format::disk::container::pages::Pages;
use crate::ints;
use crate::stream::ReadAt;
use std::io;

/// Lengths of a block that are read, in bytes.
const BLOCK: std::ops::RangeInclusive<u32> = 4096..=64 << 20;

/// The map of a disk.
struct Map {
    size: u64,
    block: u64,
    map: u64,
    data: u64,
}

/// Opens the disk.
pub(in crate::format::disk::container) fn open<'a, T: ReadAt + Send + Sync + 'a>(
    file: T,
) -> Result<Box<dyn Disk + 'a>, Error> {
    let pages = Pages::new(file);
    let map = header(&pages)?;
    Ok(Box::new(Blocks::new(pages, map)))
}

fn damaged(what: String) -> Error {
    Error::damaged(Kind::Vdi, what)
}

fn unread(what: String) -> Error {
    Error::unread(Kind::Vdi, what)
}

fn header<T: ReadAt>(pages: &Pages<T>) -> Result<Map, Error> {
    let mut header = vec![0; ints::to_usize(pages.len().min(512))];
    pages.file().read_exact_at(&mut header, 0)?;
    let version = ondisk::VERSION.get(&header);
    if version != ondisk::VERSION_1_1 {
        let (major, minor) = (version >> 16, version & 0xffff);
        return Err(unread(format!("of version {major}.{minor}, expected 1.1")));
    }
    if header.len() < ondisk::LEN {
        return Err(damaged(format!("its header has {} bytes", header.len())));
    }
    let kind = ondisk::IMAGE_TYPE.get(&header);
    let is_alone = ondisk::UUID_LINK.get(&header) == [0; 16] && ondisk::UUID_PARENT.get(&header) == [0; 16];
    if !matches!(kind, ondisk::DYNAMIC | ondisk::FIXED) || !is_alone {
        return Err(unread(
            "that has a part of its disk in another image; clone it with `VBoxManage clonemedium`".to_owned(),
        ));
    }
    let (size, block) = (ondisk::DISK_SIZE.get(&header), ondisk::BLOCK_SIZE.get(&header));
    if size > MAX_LEN {
        return Err(damaged(format!("its disk has {size} bytes, more than {MAX_LEN}")));
    }
    if !BLOCK.contains(&block) || !block.is_power_of_two() || ondisk::BLOCK_EXTRA.get(&header) != 0 {
        return Err(damaged(format!("a block has {block} bytes, expected a power of two from 4096 on")));
    }
    let blocks = ondisk::BLOCKS_IN_IMAGE.get(&header);
    let needed = size.div_ceil(u64::from(block));
    if u64::from(blocks) < needed {
        return Err(damaged(format!("it has {blocks} blocks, expected {needed}")));
    }
    let map = u64::from(ondisk::OFFSET_BLOCKS.get(&header));
    if map + needed * 4 > pages.len() {
        return Err(damaged(format!("its map is at byte {map}, and the file has {}", pages.len())));
    }
    Ok(Map { size, block: u64::from(block), map, data: u64::from(ondisk::OFFSET_DATA.get(&header)) })
}

impl Table for Map {
    fn size(&self) -> u64 {
        self.size
    }

    fn block(&self) -> u64 {
        self.block
    }

    fn find<T: ReadAt>(&self, pages: &Pages<T>, block: u64) -> io::Result<Place> {
        let entry = u32::from_le_bytes(pages.get(self.map + block * 4)?);
        Ok(match entry {
            ondisk::NO_BLOCK | ondisk::FREE => Place::Nothing(1),
            entry => Place::Plain(self.data + u64::from(entry) * self.block),
        })
    }
}
