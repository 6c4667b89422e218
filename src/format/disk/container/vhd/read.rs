//! Reads a VHD of whoever wrote it: fixed or dynamic.

use super::ondisk;
use super::ondisk::{FOOTER_LEN, dynamic};
use crate::format::disk::container::blocks::{Blocks, Place, Table};
use crate::format::disk::container::disk::{Disk, MAX_LEN, Run};
use crate::format::disk::container::error::Error;
use crate::format::disk::container::kind::Kind;
use crate::format::disk::container::pages::Pages;
use crate::ints;
use crate::stream::{ReadAt, Window};
use std::io;

/// Lengths of a block that are read, in bytes.
const BLOCK: std::ops::RangeInclusive<u32> = 4096..=256 << 20;
const SECTOR: u64 = 512;

/// Opens the disk.
pub(in crate::format::disk::container) fn open<'a, T: ReadAt + Send + Sync + 'a>(
    file: T,
) -> Result<Box<dyn Disk + 'a>, Error> {
    let footer = footer(&file)?;
    let size = ondisk::CURRENT_SIZE.get(&footer);
    if size > MAX_LEN {
        return Err(damaged(format!("its disk has {size} bytes, more than {MAX_LEN}")));
    }
    match ondisk::DISK_TYPE.get(&footer) {
        ondisk::FIXED => {
            let room = file.size().saturating_sub(ints::to_u64(FOOTER_LEN));
            if size > room {
                return Err(damaged(format!("its disk has {size} bytes, and the file has room for {room}")));
            }
            Ok(Box::new(Fixed(Window::new(file, 0, size))))
        }
        ondisk::DYNAMIC => {
            let pages = Pages::new(file);
            let table = header(&pages, &footer, size)?;
            Ok(Box::new(Blocks::new(pages, table)))
        }
        ondisk::DIFFERENCING => Err(Error::unread(
            Kind::Vhd,
            "that has a part of its disk in another image; merge them with `Merge-VHD`",
        )),
        other => Err(Error::unread(Kind::Vhd, format!("of a type that is not known ({other})"))),
    }
}

fn damaged(what: impl Into<String>) -> Error {
    Error::damaged(Kind::Vhd, what)
}

/// The footer at the end, or its copy at the start.
fn footer<T: ReadAt>(file: &T) -> Result<[u8; FOOTER_LEN], Error> {
    let len = ints::to_u64(FOOTER_LEN);
    let end = file.size().checked_sub(len).ok_or_else(|| damaged("it has no room for a footer"))?;
    for at in [end, 0] {
        let mut footer = [0; FOOTER_LEN];
        file.read_exact_at(&mut footer, at)?;
        let sum = ondisk::checksum(&footer, ondisk::CHECKSUM);
        if footer.starts_with(ondisk::COOKIE) && ondisk::CHECKSUM.get(&footer) == sum {
            return Ok(footer);
        }
    }
    Err(damaged("there is no footer with a right checksum"))
}

fn header<T: ReadAt>(pages: &Pages<T>, footer: &[u8], size: u64) -> Result<BlockTable, Error> {
    let at = ondisk::DATA_OFFSET.get(footer);
    let mut header = vec![0; dynamic::LEN];
    if at.checked_add(ints::to_u64(dynamic::LEN)).is_none_or(|end| end > pages.len()) {
        return Err(damaged(format!("its header is at byte {at}, and the file has {}", pages.len())));
    }
    pages.file().read_exact_at(&mut header, at)?;
    let sum = ondisk::checksum(&header, dynamic::CHECKSUM);
    if dynamic::COOKIE.get(&header) != *dynamic::COOKIE_VALUE || dynamic::CHECKSUM.get(&header) != sum {
        return Err(damaged(format!("there is no header with a right checksum at byte {at}")));
    }
    let block = dynamic::BLOCK_SIZE.get(&header);
    if !BLOCK.contains(&block) || !block.is_power_of_two() {
        return Err(damaged(format!("a block has {block} bytes, expected a power of two from 4096 on")));
    }
    let (entries, needed) = (dynamic::MAX_TABLE_ENTRIES.get(&header), size.div_ceil(u64::from(block)));
    if u64::from(entries) < needed {
        return Err(damaged(format!("its table has {entries} entries, expected {needed}")));
    }
    let table = dynamic::TABLE_OFFSET.get(&header);
    if table.checked_add(needed * 4).is_none_or(|end| end > pages.len()) {
        return Err(damaged(format!("its table is at byte {table}, and the file has {}", pages.len())));
    }
    // A bit for each sector of the block, filled up to whole sectors.
    let bitmap = (u64::from(block) / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
    Ok(BlockTable { size, block: u64::from(block), table, bitmap })
}

/// The table of a dynamic disk.
struct BlockTable {
    size: u64,
    block: u64,
    table: u64,
    /// Bytes of the bitmap before each block. It is not looked at: without a parent, a sector that was never written is
    /// zeros in the file as well.
    bitmap: u64,
}

impl Table for BlockTable {
    fn size(&self) -> u64 {
        self.size
    }

    fn block(&self) -> u64 {
        self.block
    }

    fn find<T: ReadAt>(&self, pages: &Pages<T>, block: u64) -> io::Result<Place> {
        Ok(match u32::from_be_bytes(pages.get(self.table + block * 4)?) {
            dynamic::UNUSED => Place::Nothing(1),
            sector => Place::Plain(u64::from(sector) * SECTOR + self.bitmap),
        })
    }
}

/// A disk that is stored whole.
struct Fixed<T>(Window<T>);

impl<T: ReadAt> ReadAt for Fixed<T> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
}

impl<T: ReadAt + Send + Sync> Disk for Fixed<T> {
    fn run(&self, offset: u64) -> io::Result<Run> {
        match self.size().checked_sub(offset) {
            None | Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(len) => Ok(Run { len, stored: true }),
        }
    }

    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}
