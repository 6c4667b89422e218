//! A streamOptimized VMDK: grains are packed one after the other, and the tables follow what they tell of.

use super::descriptor;
use super::ondisk;
use super::ondisk::{GRAIN, GRAINS, SECTOR, grain, marker};
use crate::ints;

/// The descriptor's length and the first sector of data, in sectors.
const DESCRIPTOR_SECTORS: u64 = 20;
const OVERHEAD: u64 = 128;
const GRAIN_SECTORS: u64 = GRAIN / SECTOR;

/// What makes one image another than the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Of the contents; neither 0xffffffff nor 0xfffffffe, which say that there are none.
    pub content: u32,
}

/// The state of a stream.
#[derive(Debug)]
pub struct Vmdk {
    sectors: u64,
    content: u32,
    /// Where the next byte goes, in sectors.
    position: u64,
    directory: Vec<u32>,
    /// The number of the table that is open, and its entries.
    open: Option<(u64, Vec<u32>)>,
}

/// The file is longer than sectors of 32 bits can count, or the disk than a directory can.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Vmdk {
    /// Begins a disk of `size` bytes, a multiple of 512. `None` where it is longer than a VMDK can be.
    #[must_use]
    pub fn new(size: u64, ids: Ids) -> Option<Self> {
        let tables = size.div_ceil(GRAIN * u64::from(GRAINS));
        if tables > 1 << 20 {
            return None;
        }
        let directory = vec![0; ints::to_usize(tables)];
        Some(Self { sectors: size / SECTOR, content: ids.content, position: OVERHEAD, directory, open: None })
    }

    /// What comes first.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let mut head = self.header(ondisk::GD_AT_END);
        head.extend(descriptor::text(self.sectors, self.content).bytes());
        head.resize(ints::to_usize(OVERHEAD * SECTOR), 0);
        head
    }

    fn header(&self, directory: u64) -> Vec<u8> {
        let mut header = vec![0; ints::to_usize(SECTOR)];
        header[..ondisk::MAGIC.len()].copy_from_slice(ondisk::MAGIC);
        ondisk::VERSION.put(&mut header, 3);
        ondisk::FLAGS.put(&mut header, ondisk::VALID_LINE_ENDS | ondisk::COMPRESSED | ondisk::MARKERS);
        ondisk::CAPACITY.put(&mut header, self.sectors);
        ondisk::GRAIN_SIZE.put(&mut header, GRAIN_SECTORS);
        ondisk::DESCRIPTOR_OFFSET.put(&mut header, 1);
        ondisk::DESCRIPTOR_SIZE.put(&mut header, DESCRIPTOR_SECTORS);
        ondisk::NUM_GTES_PER_GT.put(&mut header, GRAINS);
        ondisk::GD_OFFSET.put(&mut header, directory);
        ondisk::OVER_HEAD.put(&mut header, OVERHEAD);
        ondisk::UNCLEAN_SHUTDOWN.put(&mut header, 0);
        ondisk::LINE_ENDS.put(&mut header, &ondisk::LINE_ENDS_VALUE);
        ondisk::COMPRESS_ALGORITHM.put(&mut header, ondisk::DEFLATE);
        header
    }

    /// Appends grain `number`, packed as a zlib stream, to `out`; grains come in ascending order. What is not given is
    /// zeros.
    pub fn grain(&mut self, number: u64, packed: &[u8], out: &mut Vec<u8>) -> Result<(), TooLong> {
        let (table, entry) = (number / u64::from(GRAINS), number % u64::from(GRAINS));
        if self.open.as_ref().is_some_and(|(open, _)| *open != table) {
            self.close(out)?;
        }
        let at = u32::try_from(self.position).map_err(|_| TooLong)?;
        let (_, entries) =
            self.open.get_or_insert_with(|| (table, vec![0; ints::to_usize(u64::from(GRAINS))]));
        entries[ints::to_usize(entry)] = at;
        let start = out.len();
        let mut header = [0; grain::LEN];
        grain::LBA.put(&mut header, number * GRAIN_SECTORS);
        grain::SIZE.put_low(&mut header, ints::to_u64(packed.len()));
        out.extend(header);
        out.extend(packed);
        self.pad(start, out);
        Ok(())
    }

    /// Fills what was appended since `start` up to whole sectors, and goes on by them.
    fn pad(&mut self, start: usize, out: &mut Vec<u8>) {
        let len = (out.len() - start).next_multiple_of(ints::to_usize(SECTOR));
        out.resize(start + len, 0);
        self.position += ints::to_u64(len) / SECTOR;
    }

    /// Appends a marker and what it announces; gives the sector of that.
    fn marked(&mut self, kind: u32, bytes: &[u8], out: &mut Vec<u8>) -> u64 {
        let mut sector = vec![0; ints::to_usize(SECTOR)];
        marker::SECTORS.put(&mut sector, ints::to_u64(bytes.len()).div_ceil(SECTOR));
        marker::TYPE.put(&mut sector, kind);
        let at = self.position + 1;
        let start = out.len();
        out.extend(sector);
        out.extend(bytes);
        self.pad(start, out);
        at
    }

    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let Some((table, entries)) = self.open.take() else { return Ok(()) };
        let bytes: Vec<u8> = entries.into_iter().flat_map(u32::to_le_bytes).collect();
        let at = self.marked(marker::GRAIN_TABLE, &bytes, out);
        self.directory[ints::to_usize(table)] = u32::try_from(at).map_err(|_| TooLong)?;
        Ok(())
    }

    /// Appends what comes last.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        self.close(out)?;
        let directory: Vec<u8> =
            std::mem::take(&mut self.directory).into_iter().flat_map(u32::to_le_bytes).collect();
        let at = self.marked(marker::GRAIN_DIRECTORY, &directory, out);
        let footer = self.header(at);
        self.marked(marker::FOOTER, &footer, out);
        // A sector of zeros is the mark of the end.
        out.resize(out.len() + ints::to_usize(SECTOR), 0);
        Ok(())
    }
}
