//! Reading back what was written: the next piece is read while the last one is digested.

use super::block::{CELL, digest};
use super::differences::Differences;
use crate::device::buffer::{Buffer, Pool};
use crate::device::disk::{ALIGN, Disk, is_set, read_exact};
use crate::device::progress::Meter;
use crate::ints;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;

/// What a range of a disk must hold.
#[derive(Clone, Debug)]
pub struct Written {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
    /// What it holds.
    pub expect: Expect,
}

/// What a range must hold.
#[derive(Clone, Debug)]
pub enum Expect {
    /// Bytes with these digests, one for each cell.
    Digests(Arc<[u64]>),
    /// Zeros.
    Zeros,
}

/// Bytes read at a time.
const PIECE: usize = 1 << 20;
/// One being read, one waiting, one being digested.
const PIECES: usize = 3;
/// After so many pieces that cannot be read a medium is given up: each may take half a minute.
const MAX_UNREADABLE: u32 = 16;

/// A piece of a range.
struct Piece {
    range: usize,
    offset: u64,
    len: usize,
    read: io::Result<Buffer>,
}

/// Why a scan ended early.
#[derive(Debug)]
pub enum Stop {
    /// The user interrupted.
    Interrupted,
    /// The disk is gone, or nothing can be read from it.
    Gone {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}

/// Reads ranges and compares them with what they must hold.
pub fn scan(
    disk: &dyn Disk,
    ranges: &[Written],
    meter: &Meter,
    interrupted: &AtomicBool,
) -> Result<Differences, Stop> {
    let pool = Pool::new(PIECES, PIECE);
    let mut found = Differences::default();
    let mut unreadable = 0;
    let mut position = 0;
    let mut each = |piece: Piece| -> ControlFlow<Stop> {
        if is_set(interrupted) {
            return ControlFlow::Break(Stop::Interrupted);
        }
        let len = ints::to_u64(piece.len);
        match piece.read {
            Ok(buffer) => compare(&buffer[..piece.len], &ranges[piece.range], piece.offset, &mut found),
            Err(source) => {
                unreadable += 1;
                if is_gone(&source) || unreadable > MAX_UNREADABLE {
                    return ControlFlow::Break(Stop::Gone { offset: piece.offset, source });
                }
                found.add_unreadable(piece.offset, len);
            }
        }
        position += len;
        meter.add_read(len);
        meter.at(position);
        ControlFlow::Continue(())
    };
    std::thread::scope(|scope| {
        let (sender, pieces) = sync_channel::<Piece>(PIECES);
        scope.spawn(move || {
            for (range, offset, len) in cut(ranges) {
                let Some(buffer) = pool.take(&|| is_set(interrupted)) else { return };
                let read = read(disk, buffer, offset, len);
                if sender.send(Piece { range, offset, len, read }).is_err() {
                    return;
                }
            }
        });
        // Dropping the receiver ends the reader.
        for piece in pieces {
            if let ControlFlow::Break(stop) = each(piece) {
                return Err(stop);
            }
        }
        if is_set(interrupted) { Err(Stop::Interrupted) } else { Ok(()) }
    })?;
    Ok(found)
}

/// Ranges as pieces that begin at their cells.
fn cut(ranges: &[Written]) -> impl Iterator<Item = (usize, u64, usize)> {
    ranges.iter().enumerate().flat_map(|(index, range)| {
        let pieces = (0..range.len).step_by(PIECE);
        let len = move |at: u64| ints::to_usize(range.len - at).min(PIECE);
        pieces.map(move |at| (index, range.offset + at, len(at)))
    })
}

/// Reads whole sectors; what is asked for ends at a page or with the disk.
fn read(disk: &dyn Disk, mut buffer: Buffer, offset: u64, len: usize) -> io::Result<Buffer> {
    read_exact(disk, &mut buffer[..len], offset)?;
    Ok(buffer)
}

fn compare(bytes: &[u8], range: &Written, offset: u64, found: &mut Differences) {
    match &range.expect {
        Expect::Digests(digests) => {
            let first = ints::to_usize(offset - range.offset) / CELL;
            let expected = digests.iter().skip(first).map(Some).chain(std::iter::repeat(None));
            for ((cell, expected), at) in bytes.chunks(CELL).zip(expected).zip((offset..).step_by(CELL)) {
                if expected != Some(&digest(cell)) {
                    found.add(at, ints::to_u64(cell.len()));
                }
            }
        }
        Expect::Zeros => {
            for (page, at) in bytes.chunks(ALIGN).zip((offset..).step_by(ALIGN)) {
                if !is_zero(page) {
                    found.add(at, ints::to_u64(page.len()));
                }
            }
        }
    }
}

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    // Sixteen at a time: the compiler makes vector code of it.
    let (chunks, rest) = bytes.as_chunks::<16>();
    chunks.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Whether an error means that the disk is not there any more.
pub fn is_gone(error: &io::Error) -> bool {
    use nix::errno::Errno;
    const GONE: [Errno; 4] = [Errno::ENODEV, Errno::ENXIO, Errno::ENOMEDIUM, Errno::ESHUTDOWN];
    error.raw_os_error().is_some_and(|code| GONE.contains(&Errno::from_raw(code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::read_back::block::digests;
    use crate::device::testing::{Fault, MemoryDisk};

    fn disk_and_ranges() -> (MemoryDisk, Vec<Written>) {
        let bytes: Vec<u8> = (0..8u32 << 20).map(|n| (n / 7 % 256) as u8).collect();
        let mut ranges = Vec::new();
        for (offset, len) in [(0, 1 << 20), (1 << 20, 3 << 20), (5 << 20, 200_704)] {
            let expect = Expect::Digests(digests(&bytes[offset..offset + len]));
            ranges.push(Written { offset: offset as u64, len: len as u64, expect });
        }
        ranges.push(Written { offset: 7 << 20, len: 1 << 20, expect: Expect::Zeros });
        let disk = MemoryDisk::of(bytes);
        disk.change(|bytes| bytes[7 << 20..].fill(0));
        (disk, ranges)
    }

    fn run(disk: &MemoryDisk, ranges: &[Written]) -> Differences {
        scan(disk, ranges, &Meter::default(), &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn every_changed_byte_is_found_in_its_cell_and_nothing_else() {
        let (disk, ranges) = disk_and_ranges();
        assert!(run(&disk, &ranges).is_empty());
        for (at, offset, len) in [
            (0, 0, 65536),
            ((4 << 20) - 1, (4 << 20) - 65536, 65536),
            ((5 << 20) + 200_703, (5 << 20) + 196_608, 4096),
            ((7 << 20) + 5000, (7 << 20) + 4096, 4096),
        ] {
            disk.change(|bytes| bytes[at] ^= 1);
            let found = run(&disk, &ranges);
            assert_eq!(found.ranges, [crate::device::read_back::differences::Bad { offset, len }]);
            disk.change(|bytes| bytes[at] ^= 1);
        }
        disk.change(|bytes| bytes[4 << 20] ^= 1);
        assert!(run(&disk, &ranges).is_empty(), "what was not written does not matter");
    }

    #[test]
    fn what_cannot_be_read_differs_and_a_disk_that_is_gone_ends_the_scan() {
        let (disk, ranges) = disk_and_ranges();
        let disk = MemoryDisk::of(disk.bytes()).fault_once(2, Fault::Error(io::ErrorKind::Other));
        let found = run(&disk, &ranges);
        assert_eq!((found.first(), found.bytes, found.unreadable), (Some(1 << 20), 1 << 20, 1 << 20));
        let (disk, ranges) = disk_and_ranges();
        let disk = MemoryDisk::of(disk.bytes()).fault_from(3, Fault::Raw(19));
        let stop = scan(&disk, &ranges, &Meter::default(), &AtomicBool::new(false)).unwrap_err();
        assert!(matches!(stop, Stop::Gone { offset, .. } if offset == 2 << 20));
    }

    #[test]
    fn an_interrupt_ends_the_scan() {
        let (disk, ranges) = disk_and_ranges();
        let stop = scan(&disk, &ranges, &Meter::default(), &AtomicBool::new(true)).unwrap_err();
        assert!(matches!(stop, Stop::Interrupted));
    }
}
