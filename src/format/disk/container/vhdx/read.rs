//! Reads a VHDX of whoever wrote it.

use super::ondisk;
use super::ondisk::{bat, header, metadata, regions};
use crate::bytes::{Le32, Le64};
use crate::format::disk::container::blocks::{Blocks, Place, Table};
use crate::format::disk::container::disk::{Disk, MAX_LEN};
use crate::format::disk::container::error::{Error, bad};
use crate::format::disk::container::kind::Kind;
use crate::format::disk::container::pages::Pages;
use crate::ints;
use crate::stream::ReadAt;
use std::io;

/// Lengths of a block that are read, in bytes.
const BLOCK: std::ops::RangeInclusive<u32> = 1 << 20..=256 << 20;
/// The longest item of metadata that is read, in bytes.
const ITEM: u32 = 16;

/// The block allocation table of a disk.
struct Bat {
    size: u64,
    block: u64,
    ratio: u64,
    at: u64,
}

/// Opens the disk.
pub(in crate::format::disk::container) fn open<'a, T: ReadAt + Send + Sync + 'a>(
    file: T,
) -> Result<Box<dyn Disk + 'a>, Error> {
    let pages = Pages::new(file);
    let table = table(&pages)?;
    Ok(Box::new(Blocks::new(pages, table)))
}

fn damaged(what: impl Into<String>) -> Error {
    Error::damaged(Kind::Vhdx, what)
}

fn unread(what: impl Into<String>) -> Error {
    Error::unread(Kind::Vhdx, what)
}

fn table<T: ReadAt>(pages: &Pages<T>) -> Result<Bat, Error> {
    ensure_closed(pages)?;
    let (bat, metadata) = regions(pages)?;
    let parameters = item(pages, metadata, metadata::FILE_PARAMETERS)?;
    let (block, flags) = (Le32(0).get(&parameters), Le32(4).get(&parameters));
    if flags & metadata::HAS_PARENT != 0 {
        return Err(unread("that has a part of its disk in another image; merge them with `Merge-VHD`"));
    }
    if !BLOCK.contains(&block) || !block.is_power_of_two() {
        return Err(damaged(format!("a block has {block} bytes, expected a power of two from 1 to 256 MiB")));
    }
    let sector = Le32(0).get(&item(pages, metadata, metadata::LOGICAL_SECTOR_SIZE)?);
    if !matches!(sector, 512 | 4096) {
        return Err(damaged(format!("a sector has {sector} bytes, expected 512 or 4096")));
    }
    let size = Le64(0).get(&item(pages, metadata, metadata::VIRTUAL_DISK_SIZE)?);
    if size > MAX_LEN {
        return Err(damaged(format!("its disk has {size} bytes, more than {MAX_LEN}")));
    }
    let (block, ratio) = (u64::from(block), ondisk::ratio(u64::from(sector), u64::from(block)));
    let blocks = size.div_ceil(block);
    let needed = (blocks + blocks.saturating_sub(1) / ratio) * 8;
    if needed > u64::from(bat.len) || bat.at.checked_add(needed).is_none_or(|end| end > pages.len()) {
        let (at, len) = (bat.at, bat.len);
        return Err(damaged(format!(
            "its table has {len} bytes at byte {at}, expected {needed} in the file"
        )));
    }
    Ok(Bat { size, block, ratio, at: bat.at })
}

/// A structure with a checksum, if it is one.
fn summed<T: ReadAt>(pages: &Pages<T>, at: u64, len: usize, magic: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    if at + ints::to_u64(len) > pages.len() {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    pages.file().read_exact_at(&mut bytes, at)?;
    // Headers and region tables have their sum at the same place.
    let field = header::CHECKSUM;
    let is_right = bytes.starts_with(magic) && field.get(&bytes) == ondisk::checksum(&bytes, field);
    Ok(is_right.then_some(bytes))
}

/// Whether all changes are in the file, and none in its log.
fn ensure_closed<T: ReadAt>(pages: &Pages<T>) -> Result<(), Error> {
    let mut current: Option<Vec<u8>> = None;
    for at in header::AT {
        let found = summed(pages, at, header::LEN, header::MAGIC)?;
        let number = |bytes: &Vec<u8>| header::SEQUENCE_NUMBER.get(bytes);
        if found.as_ref().map(number) > current.as_ref().map(number) {
            current = found;
        }
    }
    let current = current.ok_or_else(|| damaged("there is no header with a right checksum"))?;
    if header::VERSION.get(&current) != 1 {
        return Err(unread(format!("of version {}, expected 1", header::VERSION.get(&current))));
    }
    if header::LOG_GUID.get(&current) != [0; 16] {
        return Err(unread(
            "that was not closed: changes wait in its log; let `qemu-img check -r all` take them in",
        ));
    }
    Ok(())
}

/// A region.
#[derive(Clone, Copy)]
struct Region {
    at: u64,
    len: u32,
}

/// The table of blocks, and the metadata.
fn regions<T: ReadAt>(pages: &Pages<T>) -> Result<(Region, Region), Error> {
    let [first, second] = regions::AT;
    let bytes = match summed(pages, first, regions::LEN, regions::MAGIC)? {
        Some(bytes) => bytes,
        None => summed(pages, second, regions::LEN, regions::MAGIC)?
            .ok_or_else(|| damaged("there is no region table with a right checksum"))?,
    };
    let count = regions::ENTRY_COUNT.get(&bytes).min(regions::MAX_ENTRIES);
    let (mut bat, mut metadata) = (None, None);
    let entries = bytes[regions::ENTRIES..].chunks_exact(regions::ENTRY_LEN);
    for entry in entries.take(ints::to_usize(u64::from(count))) {
        let region = Region { at: regions::OFFSET.get(entry), len: regions::LENGTH.get(entry) };
        match regions::GUID.get(entry) {
            regions::BAT => bat = Some(region),
            regions::METADATA => metadata = Some(region),
            _ if regions::REQUIRED.get(entry) & 1 == 0 => {}
            guid => {
                let guid = uuid::Uuid::from_bytes_le(guid);
                return Err(unread(format!("with a region that is not known ({guid})")));
            }
        }
    }
    bat.zip(metadata).ok_or_else(|| damaged("it has no table of blocks, or no metadata"))
}

/// An item of metadata, filled up with zeros.
fn item<T: ReadAt>(pages: &Pages<T>, region: Region, wanted: [u8; 16]) -> Result<[u8; 16], Error> {
    let outside = || damaged(format!("its metadata are at byte {}, outside of the file", region.at));
    let table: [u8; metadata::ENTRIES] = pages.get(region.at).map_err(|_| outside())?;
    if !table.starts_with(metadata::MAGIC) {
        return Err(damaged(format!("there are no metadata at byte {}", region.at)));
    }
    let count = metadata::ENTRY_COUNT.get(&table).min(metadata::MAX_ENTRIES);
    for number in 0..u64::from(count) {
        let at = region.at + ints::to_u64(metadata::ENTRIES) + number * ints::to_u64(metadata::ENTRY_LEN);
        let entry: [u8; metadata::ENTRY_LEN] = pages.get(at).map_err(|_| outside())?;
        if metadata::ITEM.get(&entry) == metadata::PARENT_LOCATOR {
            return Err(unread("that has a part of its disk in another image; merge them with `Merge-VHD`"));
        }
        if metadata::ITEM.get(&entry) != wanted {
            continue;
        }
        let (offset, len) = (metadata::OFFSET.get(&entry), metadata::LENGTH.get(&entry).min(ITEM));
        let at = region.at.saturating_add(u64::from(offset));
        if at.checked_add(u64::from(len)).is_none_or(|end| end > pages.len()) {
            return Err(outside());
        }
        let mut value = [0; 16];
        pages.file().read_exact_at(&mut value[..ints::to_usize(u64::from(len))], at)?;
        return Ok(value);
    }
    let wanted = uuid::Uuid::from_bytes_le(wanted);
    Err(damaged(format!("its metadata have no item {wanted}")))
}

impl Table for Bat {
    fn size(&self) -> u64 {
        self.size
    }

    fn block(&self) -> u64 {
        self.block
    }

    fn find<T: ReadAt>(&self, pages: &Pages<T>, block: u64) -> io::Result<Place> {
        let entry = u64::from_le_bytes(pages.get(self.at + (block + block / self.ratio) * 8)?);
        match entry & bat::STATE {
            state if bat::NOT_PRESENT_TO_UNMAPPED.contains(&state) => Ok(Place::Nothing(1)),
            bat::FULLY_PRESENT => Ok(Place::Plain(entry & bat::OFFSET)),
            state => Err(bad(format!("block {block} has the state {state}, expected 0 to 3 or 6"))),
        }
    }
}
