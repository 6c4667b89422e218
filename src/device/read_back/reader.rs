//! A disk read at any place, past the cache: what direct I/O can read is larger, so the last pieces are kept.

use crate::device::buffer::Buffer;
use crate::device::disk::{Disk, read_exact};
use crate::ints;
use crate::stream::ReadAt;
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Bytes of a piece, and how many pieces are kept: directories and inodes are read a little at a time.
const PIECE: usize = 64 << 10;
const KEPT: usize = 64;

/// A disk to look around on.
pub struct Reader<'a> {
    disk: &'a dyn Disk,
    pieces: Mutex<VecDeque<(u64, Buffer)>>,
}

impl<'a> Reader<'a> {
    /// Reads a disk.
    #[must_use]
    pub fn new(disk: &'a dyn Disk) -> Self {
        Self { disk, pieces: Mutex::default() }
    }

    /// Copies from the piece that begins at `at`; it is read unless it is kept.
    fn copy(&self, at: u64, within: usize, out: &mut [u8]) -> io::Result<()> {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = pieces.iter().position(|(offset, _)| *offset == at);
        let piece = match kept.and_then(|index| pieces.remove(index)) {
            Some(piece) => piece,
            None => {
                let mut buffer = Buffer::new(ints::to_usize((self.disk.len() - at).min(ints::to_u64(PIECE))));
                read_exact(self.disk, &mut buffer, at)?;
                (at, buffer)
            }
        };
        let bytes = piece.1.get(within..within + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        pieces.push_front(piece);
        pieces.truncate(KEPT);
        Ok(())
    }
}

impl ReadAt for Reader<'_> {
    fn size(&self) -> u64 {
        self.disk.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let len = ints::to_u64(buf.len());
        if offset.checked_add(len).is_none_or(|end| end > self.disk.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < buf.len() {
            let at = offset + ints::to_u64(done);
            let within = ints::to_usize(at % ints::to_u64(PIECE));
            let step = (PIECE - within).min(buf.len() - done);
            self.copy(at - ints::to_u64(within), within, &mut buf[done..done + step])?;
            done += step;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::MemoryDisk;

    #[test]
    fn any_range_is_read_as_it_is() {
        let bytes: Vec<u8> = (0..1_000_448u32).map(|n| (n / 3) as u8).collect();
        let disk = MemoryDisk::of(bytes.clone());
        let reader = Reader::new(&disk);
        for (offset, len) in [(0, 1), (65_535, 2), (5, 200_000), (1_000_000, 448), (0, 1_000_448)] {
            let mut out = vec![0; len];
            reader.read_exact_at(&mut out, offset).unwrap();
            assert!(out == bytes[offset as usize..][..len]);
        }
        assert!(reader.read_exact_at(&mut [0; 2], 1_000_447).is_err());
    }
}
