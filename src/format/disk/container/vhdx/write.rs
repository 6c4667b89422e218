//! A dynamic VHDX: its tables come first, so that it can go into a pipe.

use super::ondisk;
use super::ondisk::{MIB, bat, header, metadata, regions};
use crate::format::disk::container::guid::mixed;
use crate::format::disk::container::head::{Head, Part};
use crate::format::disk::container::stored::Stored;
use crate::ints;
use std::ops::Range;

/// Bytes of a block: the least that Microsoft advises for Linux, which writes small files all over a disk, is 1 MiB; QEMU
/// and this take 2 MiB.
const BLOCK: u64 = 2 << 20;
const SECTOR: u64 = 512;
const PHYSICAL_SECTOR: u32 = 4096;
/// Where log, metadata and table lie; each region of the first two has 1 MiB.
const LOG_AT: u64 = MIB;
const METADATA_AT: u64 = 2 * MIB;
const BAT_AT: u64 = 3 * MIB;

/// UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Of this state of the file.
    pub file: [u8; 16],
    /// Of this state of the disk.
    pub data: [u8; 16],
    /// Of the disk, as its guest sees it.
    pub disk: [u8; 16],
}

/// The plan of one.
#[derive(Debug)]
pub struct Vhdx {
    stored: Stored,
    ids: Ids,
    bat_len: u32,
}

impl Vhdx {
    /// Plans a disk of `size` bytes, a multiple of 512, of which `data` is stored. `None` where it is longer than a VHDX
    /// can be.
    #[must_use]
    pub fn new(size: u64, data: &[Range<u64>], ids: Ids) -> Option<Self> {
        let stored = Stored::new(size, BLOCK, data);
        if size > 64 << 40 {
            return None;
        }
        let bitmaps = stored.blocks().saturating_sub(1) / ondisk::ratio(SECTOR, BLOCK);
        let bat_len = u32::try_from(((stored.blocks() + bitmaps) * 8).max(1).next_multiple_of(MIB)).ok()?;
        Some(Self { stored, ids, bat_len })
    }

    fn header(&self, sequence_number: u64) -> Vec<u8> {
        let mut bytes = vec![0; header::LEN];
        bytes[..header::MAGIC.len()].copy_from_slice(header::MAGIC);
        header::SEQUENCE_NUMBER.put(&mut bytes, sequence_number);
        header::FILE_WRITE_GUID.put(&mut bytes, &mixed(self.ids.file));
        header::DATA_WRITE_GUID.put(&mut bytes, &mixed(self.ids.data));
        header::VERSION.put(&mut bytes, 1);
        header::LOG_LENGTH.put_low(&mut bytes, MIB);
        header::LOG_OFFSET.put(&mut bytes, LOG_AT);
        let sum = ondisk::checksum(&bytes, header::CHECKSUM);
        header::CHECKSUM.put(&mut bytes, sum);
        bytes
    }

    fn regions(&self) -> Vec<u8> {
        let mut bytes = vec![0; regions::LEN];
        bytes[..regions::MAGIC.len()].copy_from_slice(regions::MAGIC);
        let mib = u32::try_from(MIB).unwrap_or(u32::MAX);
        let entries = [(regions::BAT, BAT_AT, self.bat_len), (regions::METADATA, METADATA_AT, mib)];
        regions::ENTRY_COUNT.put_low(&mut bytes, ints::to_u64(entries.len()));
        for ((guid, offset, len), entry) in
            entries.iter().zip(bytes[regions::ENTRIES..].chunks_mut(regions::ENTRY_LEN))
        {
            regions::GUID.put(entry, guid);
            regions::OFFSET.put(entry, *offset);
            regions::LENGTH.put(entry, *len);
            regions::REQUIRED.put(entry, 1);
        }
        let sum = ondisk::checksum(&bytes, regions::CHECKSUM);
        regions::CHECKSUM.put(&mut bytes, sum);
        bytes
    }

    fn metadata(&self) -> Vec<u8> {
        let disk = metadata::IS_VIRTUAL_DISK | metadata::IS_REQUIRED;
        let word = |value: u64| value.to_le_bytes()[..4].to_vec();
        let items: [([u8; 16], u32, Vec<u8>); 5] = [
            (metadata::FILE_PARAMETERS, metadata::IS_REQUIRED, BLOCK.to_le_bytes().to_vec()),
            (metadata::VIRTUAL_DISK_SIZE, disk, self.stored.size().to_le_bytes().to_vec()),
            (metadata::PAGE_83, disk, mixed(self.ids.disk).to_vec()),
            (metadata::LOGICAL_SECTOR_SIZE, disk, word(SECTOR)),
            (metadata::PHYSICAL_SECTOR_SIZE, disk, word(u64::from(PHYSICAL_SECTOR))),
        ];
        let mut bytes = vec![0; metadata::TABLE_LEN];
        bytes[..metadata::MAGIC.len()].copy_from_slice(metadata::MAGIC);
        metadata::ENTRY_COUNT.put_low(&mut bytes, ints::to_u64(items.len()));
        let mut values = Vec::new();
        for ((item, flags, value), entry) in
            items.iter().zip(bytes[metadata::ENTRIES..].chunks_mut(metadata::ENTRY_LEN))
        {
            metadata::ITEM.put(entry, item);
            metadata::OFFSET.put_low(entry, ints::to_u64(metadata::TABLE_LEN + values.len()));
            metadata::LENGTH.put_low(entry, ints::to_u64(value.len()));
            metadata::FLAGS.put(entry, *flags);
            values.extend_from_slice(value);
        }
        bytes.extend(values);
        bytes
    }

    /// Entries of the blocks; those of bitmaps stay zeros, as a disk without a parent has none.
    fn bat(&self) -> Vec<u8> {
        let first = BAT_AT + u64::from(self.bat_len);
        let ratio = ondisk::ratio(SECTOR, BLOCK);
        let last = self.stored.ranges().last().map_or(0, |range| range.end);
        let mut entries = vec![0; ints::to_usize(last + last / ratio)];
        for (block, before) in self.stored.within(0..last) {
            entries[ints::to_usize(block + block / ratio)] = (first + before * BLOCK) | bat::FULLY_PRESENT;
        }
        entries.into_iter().flat_map(u64::to_le_bytes).collect()
    }
}

impl Head for Vhdx {
    fn stored(&self) -> &Stored {
        &self.stored
    }

    fn parts(&self) -> Box<dyn Iterator<Item = Part> + '_> {
        let mut identifier = ondisk::FILE_MAGIC.to_vec();
        identifier.extend("nixflash".encode_utf16().flat_map(u16::to_le_bytes));
        let bytes = [
            (0, identifier),
            (header::AT[0], self.header(0)),
            (header::AT[1], self.header(1)),
            (regions::AT[0], self.regions()),
            (regions::AT[1], self.regions()),
            (METADATA_AT, self.metadata()),
            (BAT_AT, self.bat()),
        ];
        let end = BAT_AT + u64::from(self.bat_len);
        let mut parts = Vec::new();
        let mut position = 0;
        for (at, bytes) in bytes.into_iter().chain([(end, Vec::new())]) {
            parts.extend((at > position).then(|| Part::Zeros(at - position)));
            position = at + ints::to_u64(bytes.len());
            parts.push(Part::Bytes(bytes));
        }
        Box::new(parts.into_iter())
    }
}
