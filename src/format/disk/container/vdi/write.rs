//! A dynamic VDI: the map comes first, so that it can go into a pipe.

use super::ondisk;
use super::ondisk::BLOCK;
use crate::format::disk::container::guid::mixed;
use crate::format::disk::container::head::{Head, Part};
use crate::format::disk::container::stored::Stored;
use crate::ints;
use std::ops::Range;

/// Two UUIDs, which VirtualBox does not take as zeros: of the image, and of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The image; one VirtualBox takes only one image with it.
    pub image: [u8; 16],
    /// Its last change.
    pub change: [u8; 16],
}

/// The plan of one.
#[derive(Debug)]
pub struct Vdi {
    stored: Stored,
    ids: Ids,
    data: u32,
    blocks: u32,
    allocated: u32,
}

impl Vdi {
    /// Plans a disk of `size` bytes, a multiple of 512, of which `data` is stored. `None` where it is longer than a VDI can
    /// be.
    #[must_use]
    pub fn new(size: u64, data: &[Range<u64>], ids: Ids) -> Option<Self> {
        let stored = Stored::new(size, BLOCK, data);
        let blocks = u32::try_from(stored.blocks()).ok().filter(|blocks| *blocks < ondisk::NO_BLOCK)?;
        let allocated = u32::try_from(stored.count()).ok()?;
        let data = u32::try_from((BLOCK + u64::from(blocks) * 4).next_multiple_of(BLOCK)).ok()?;
        Some(Self { stored, ids, data, blocks, allocated })
    }

    fn header(&self) -> Vec<u8> {
        let mut header = vec![0; ondisk::LEN];
        let text = b"<<< nixflash VM disk image >>>\n";
        ondisk::TEXT.slice_mut(&mut header)[..text.len()].copy_from_slice(text);
        ondisk::SIGNATURE.put(&mut header, ondisk::SIGNATURE_VALUE);
        ondisk::VERSION.put(&mut header, ondisk::VERSION_1_1);
        ondisk::HEADER_SIZE.put(&mut header, ondisk::HEADER_SIZE_VALUE);
        ondisk::IMAGE_TYPE.put(&mut header, ondisk::DYNAMIC);
        ondisk::OFFSET_BLOCKS.put_low(&mut header, BLOCK);
        ondisk::OFFSET_DATA.put(&mut header, self.data);
        ondisk::SECTOR_SIZE.put(&mut header, 512);
        ondisk::LCHS_SECTOR_SIZE.put(&mut header, 512);
        ondisk::DISK_SIZE.put(&mut header, self.stored.size());
        ondisk::BLOCK_SIZE.put_low(&mut header, BLOCK);
        ondisk::BLOCKS_IN_IMAGE.put(&mut header, self.blocks);
        ondisk::BLOCKS_ALLOCATED.put(&mut header, self.allocated);
        ondisk::UUID_IMAGE.put(&mut header, &mixed(self.ids.image));
        ondisk::UUID_LAST_SNAP.put(&mut header, &mixed(self.ids.change));
        header
    }

    fn map(&self) -> Vec<u8> {
        let mut map = vec![ondisk::FREE; ints::to_usize(self.stored.blocks())];
        for ((block, _), entry) in self.stored.within(0..self.stored.blocks()).zip(0_u32..) {
            map[ints::to_usize(block)] = entry;
        }
        map.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}

impl Head for Vdi {
    fn stored(&self) -> &Stored {
        &self.stored
    }

    fn parts(&self) -> Box<dyn Iterator<Item = Part> + '_> {
        let (header, map) = (self.header(), self.map());
        let before = BLOCK - ints::to_u64(header.len());
        let behind = u64::from(self.data) - BLOCK - ints::to_u64(map.len());
        let parts = [Part::Bytes(header), Part::Zeros(before), Part::Bytes(map), Part::Zeros(behind)];
        Box::new(parts.into_iter())
    }
}
