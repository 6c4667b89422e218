//! Reads a qcow2 of whoever wrote it.

use super::ondisk;
use super::ondisk::{COPIED, Compression, OFFSET, PACKED, SECTOR, ZERO, packed_bits};
use crate::format::disk::container::blocks::{Blocks, Place, Table};
use crate::format::disk::container::disk::{Disk, MAX_LEN};
use crate::format::disk::container::error::{Error, bad};
use crate::format::disk::container::kind::Kind;
use crate::format::disk::container::pages::Pages;
use crate::format::disk::container::unpack;
use crate::ints;
use crate::stream::ReadAt;
use std::io;

/// Bits of a cluster's length: what QEMU takes.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// The longest name of a backing file, in bytes.
const MAX_NAME: u32 = 1023;
/// Where to go with what is not read.
const CONVERT: &str = "convert it with `qemu-img convert -O qcow2`";

/// The tables of a disk.
struct Clusters {
    size: u64,
    cluster_bits: u32,
    l1: u64,
    compression: Compression,
}

/// Opens the disk.
pub(in crate::format::disk::container) fn open<'a, T: ReadAt + Send + Sync + 'a>(
    file: T,
) -> Result<Box<dyn Disk + 'a>, Error> {
    let pages = Pages::new(file);
    let table = header(&pages)?;
    Ok(Box::new(Blocks::new(pages, table)))
}

fn damaged(what: impl Into<String>) -> Error {
    Error::damaged(Kind::Qcow2, what)
}

fn unread(what: impl Into<String>) -> Error {
    Error::unread(Kind::Qcow2, what)
}

fn header<T: ReadAt>(pages: &Pages<T>) -> Result<Clusters, Error> {
    let mut header = vec![0; ints::to_usize(pages.len().min(512))];
    pages.file().read_exact_at(&mut header, 0)?;
    if header.len() < ondisk::V2_LEN {
        return Err(damaged(format!("its header has {} bytes", header.len())));
    }
    let version = ondisk::VERSION.get(&header);
    if !matches!(version, 2 | 3) {
        return Err(unread(format!("of version {version}; {CONVERT}")));
    }
    if ondisk::BACKING_FILE_OFFSET.get(&header) != 0 {
        let name = backing_file(pages, &header)?;
        return Err(unread(format!("that has a part of its disk in a backing file, {name}; {CONVERT}")));
    }
    if ondisk::CRYPT_METHOD.get(&header) != 0 {
        return Err(unread(format!("that is encrypted; {CONVERT}")));
    }
    let snapshots = ondisk::NB_SNAPSHOTS.get(&header);
    if snapshots != 0 {
        return Err(unread(format!(
            "with {snapshots} snapshots inside; {CONVERT}, which takes the disk as it is now"
        )));
    }
    let compression = if version == 3 { features(&header)? } else { Compression::Deflate };
    let cluster_bits = ondisk::CLUSTER_BITS.get(&header);
    if !CLUSTER_BITS.contains(&cluster_bits) {
        return Err(damaged(format!("cluster_bits is {cluster_bits}, expected 9 to 21")));
    }
    let size = ondisk::SIZE.get(&header);
    if size > MAX_LEN {
        return Err(damaged(format!("its disk has {size} bytes, more than {MAX_LEN}")));
    }
    let (entries, l1) = (ondisk::L1_SIZE.get(&header), ondisk::L1_TABLE_OFFSET.get(&header));
    let needed = size.div_ceil(1 << (2 * cluster_bits - 3));
    if u64::from(entries) < needed {
        return Err(damaged(format!("its L1 table has {entries} entries, expected {needed}")));
    }
    if l1.checked_add(needed * 8).is_none_or(|end| end > pages.len()) {
        return Err(damaged(format!("its L1 table is at byte {l1}, and the file has {}", pages.len())));
    }
    Ok(Clusters { size, cluster_bits, l1, compression })
}

/// Whether all that a reader must know is known.
fn features(header: &[u8]) -> Result<Compression, Error> {
    let features = ondisk::INCOMPATIBLE_FEATURES.get(header);
    if features & ondisk::EXTERNAL_DATA != 0 {
        return Err(unread(format!("whose disk is in another file; {CONVERT}")));
    }
    if features & ondisk::EXTENDED_L2 != 0 {
        return Err(unread(format!("with extended L2 entries; {CONVERT}")));
    }
    if features & ondisk::CORRUPT != 0 {
        return Err(damaged("it says of itself that it is corrupt; look at it with `qemu-img check`"));
    }
    // What is dirty has wrong counts, which are not read here.
    let known = ondisk::DIRTY | ondisk::COMPRESSION;
    if features & !known != 0 {
        return Err(unread(format!(
            "with features that are not known (0x{:x}); {CONVERT}",
            features & !known
        )));
    }
    let has_type = ondisk::HEADER_LENGTH.get(header) > 104;
    let code = if has_type { ondisk::COMPRESSION_TYPE.get(header) } else { 0 };
    Compression::of(code)
        .ok_or_else(|| unread(format!("packed in a way that is not known ({code}); {CONVERT}")))
}

fn backing_file<T: ReadAt>(pages: &Pages<T>, header: &[u8]) -> Result<String, Error> {
    let len = ondisk::BACKING_FILE_SIZE.get(header).min(MAX_NAME);
    let at = ondisk::BACKING_FILE_OFFSET.get(header);
    let mut name = vec![0; ints::to_usize(u64::from(len))];
    if at.checked_add(u64::from(len)).is_none_or(|end| end > pages.len()) {
        return Err(damaged(format!("the name of its backing file is at byte {at}, behind its end")));
    }
    pages.file().read_exact_at(&mut name, at)?;
    Ok(String::from_utf8_lossy(&name).escape_debug().to_string())
}

impl Table for Clusters {
    fn size(&self) -> u64 {
        self.size
    }

    fn block(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn find<T: ReadAt>(&self, pages: &Pages<T>, block: u64) -> io::Result<Place> {
        let entries = 1_u64 << (self.cluster_bits - 3);
        let aligned = |entry: u64| match entry & OFFSET {
            offset if offset.is_multiple_of(self.block()) => Ok(offset),
            offset => Err(bad(format!("block {block}: byte {offset} is not the start of a cluster"))),
        };
        let l2 = aligned(u64::from_be_bytes(pages.get(self.l1 + block / entries * 8)?))?;
        if l2 == 0 {
            return Ok(Place::Nothing(entries - block % entries));
        }
        let entry = u64::from_be_bytes(pages.get(l2 + block % entries * 8)?);
        if entry & PACKED != 0 {
            let (offset_bits, sector_bits) = packed_bits(self.cluster_bits);
            let at = entry & ((1 << offset_bits) - 1);
            let sectors = (entry >> offset_bits & ((1 << sector_bits) - 1)) + 1;
            let end = (at / SECTOR + sectors) * SECTOR;
            // The last sector may be cut: a file ends where its last byte does.
            let len = end.min(pages.len().max(at + 1)) - at;
            return Ok(Place::Packed { at, len });
        }
        match aligned(entry & !COPIED)? {
            0 => Ok(Place::Nothing(1)),
            _ if entry & ZERO != 0 => Ok(Place::Nothing(1)),
            at => Ok(Place::Plain(at)),
        }
    }

    fn unpack(&self, packed: &[u8], out: &mut [u8]) -> io::Result<()> {
        match self.compression {
            Compression::Deflate => unpack::deflate(packed, out),
            Compression::Zstd => unpack::zstd(packed, out),
        }
    }
}
