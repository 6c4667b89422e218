//! Small reads out of a cache, and the face that `fatfs` wants to see.

use crate::ints;
use crate::stream::ReadAt;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes of a cached block.
const BLOCK: u64 = 4096;
/// Blocks that are kept; a block's number decides where.
const BLOCKS: u64 = 64;
/// No block has this number: offsets are 64 bits.
const NOTHING: u64 = u64::MAX;

/// A medium whose small reads are cached: walking a FAT reads four bytes at a time.
pub(crate) struct Cached<R> {
    inner: R,
    blocks: Vec<(u64, Vec<u8>)>,
}

impl<R: ReadAt> Cached<R> {
    /// Begins with an empty cache.
    pub fn new(inner: R) -> Self {
        Self { inner, blocks: vec![(NOTHING, Vec::new()); ints::to_usize(BLOCKS)] }
    }

    /// The length of the medium.
    pub fn size(&self) -> u64 {
        self.inner.size()
    }

    /// Fills `buf` from `offset`.
    pub fn read(&mut self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if ints::to_u64(buf.len()) >= BLOCK {
            return self.inner.read_exact_at(buf, offset);
        }
        let (mut offset, mut buf) = (offset, buf);
        while !buf.is_empty() {
            let block = self.block(offset / BLOCK)?;
            let from = ints::to_usize(offset % BLOCK);
            let rest =
                block.get(from..).filter(|rest| !rest.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
            let len = rest.len().min(buf.len());
            let (front, back) = buf.split_at_mut(len);
            front.copy_from_slice(&rest[..len]);
            buf = back;
            offset = offset.checked_add(ints::to_u64(len)).ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        Ok(())
    }

    /// A block; the last one of a medium may be shorter.
    fn block(&mut self, number: u64) -> io::Result<&[u8]> {
        let slot = &mut self.blocks[ints::to_usize(number % BLOCKS)];
        if slot.0 != number {
            slot.0 = NOTHING;
            let start = number * BLOCK;
            let len = self.inner.size().saturating_sub(start).min(BLOCK);
            slot.1.resize(ints::to_usize(len), 0);
            self.inner.read_exact_at(&mut slot.1, start)?;
            slot.0 = number;
        }
        Ok(&slot.1)
    }
}

/// A cached medium with a position. `fatfs` demands that it can be written; every write fails.
pub(crate) struct Disk<R> {
    cached: Cached<R>,
    position: u64,
}

impl<R: ReadAt> Disk<R> {
    /// Begins at the start.
    pub const fn new(cached: Cached<R>) -> Self {
        Self { cached, position: 0 }
    }
}

impl<R: ReadAt> Read for Disk<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.cached.size().saturating_sub(self.position);
        let len = buf.len().min(ints::to_usize(left));
        self.cached.read(&mut buf[..len], self.position)?;
        self.position += ints::to_u64(len);
        Ok(len)
    }
}

impl<R: ReadAt> Seek for Disk<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.cached.size().checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl<R> Write for Disk<R> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_reads_are_those_of_the_medium() {
        let bytes: Vec<u8> = (0..600_000u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
        let mut cached = Cached::new(&bytes[..]);
        for (offset, len) in [(0, 1), (4090, 20), (599_990, 10), (266_239, 4095), (5, 70_000), (4095, 1)] {
            let mut buf = vec![0; len];
            cached.read(&mut buf, offset as u64).unwrap();
            assert_eq!(buf, bytes[offset..offset + len]);
        }
        for (offset, len) in [(599_990, 11), (700_000, 1), (u64::MAX, 1), (u64::MAX, 5000)] {
            let read = cached.read(&mut vec![0; len], offset);
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{offset} {len}");
        }
    }
}
