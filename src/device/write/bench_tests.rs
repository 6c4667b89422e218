//! An image of all kinds of ranges, and its way onto a disk in memory.

use super::fault::Error;
use super::phases::begin;
use super::{Check, Options, Report, Rewrite};
use crate::device::buffer::Pool;
use crate::device::progress::Meter;
use crate::device::read_back::block::{BLOCK, Cutter, Part};
use crate::device::testing::MemoryDisk;
use crate::format::disk::partition_table::{Gpt, GptPartition, Mbr, MbrPartition, SectorSize, Table, encode};
use crate::image::Sink;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use uuid::Uuid;

pub(super) const MIB: usize = 1 << 20;

/// An image of three kinds of ranges.
pub(super) struct Image {
    pub(super) bytes: Vec<u8>,
    pub(super) holes: Vec<Range<usize>>,
    pub(super) zeros: Vec<Range<usize>>,
}

impl Image {
    /// Content everywhere but in a hole and a run of zeros; no table.
    pub(super) fn plain(len: usize) -> Self {
        let mut bytes: Vec<u8> = (0..len).map(|n| (n / 3 % 251 + 1) as u8).collect();
        let cut = |from: usize, to: usize| from.min(len)..to.min(len);
        let (holes, zeros) = (vec![cut(3 * MIB, 3 * MIB + MIB / 2)], vec![cut(5 * MIB, 5 * MIB + 300_000)]);
        for range in holes.iter().chain(&zeros) {
            bytes[range.clone()].fill(0);
        }
        Self { bytes, holes, zeros }
    }

    pub(super) fn with(mut self, table: &Table) -> Self {
        for (offset, bytes) in encode(table, self.bytes.len() as u64, SectorSize::S512).unwrap() {
            self.bytes[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        self
    }

    pub(super) fn gpt(len: usize) -> Self {
        let partition = GptPartition {
            number: 1,
            start: 2048,
            sectors: len as u64 / 512 - 4096,
            type_guid: Uuid::from_u128(1),
            unique_guid: Uuid::from_u128(2),
            name: "root".into(),
            attributes: 0,
        };
        Self::plain(len).with(&Table::Gpt(Gpt { disk_guid: Uuid::from_u128(3), partitions: vec![partition] }))
    }

    pub(super) fn mbr(len: usize) -> Self {
        let partition = MbrPartition { number: 1, start: 2048, sectors: 4096, kind: 0x83, active: false };
        Self::plain(len).with(&Table::Mbr(Mbr { disk_id: 1, partitions: vec![partition] }))
    }

    pub(super) fn parts(&self) -> (Vec<Part>, u64) {
        let pool = Pool::new(16, BLOCK);
        let mut parts = Vec::new();
        let mut emit = |part| {
            parts.push(part);
            true
        };
        let stop = || true;
        let mut cutter = Box::new(Cutter::new(&pool, &stop, &mut emit));
        let mut marks: Vec<usize> = vec![0, self.bytes.len()];
        marks.extend(self.holes.iter().chain(&self.zeros).flat_map(|range| [range.start, range.end]));
        marks.sort_unstable();
        for pair in marks.windows(2).filter(|pair| pair[0] < pair[1]) {
            let (from, to) = (pair[0], pair[1]);
            let len = (to - from) as u64;
            if self.holes.iter().any(|range| range.contains(&from)) {
                cutter.skip(len).unwrap();
            } else if self.zeros.iter().any(|range| range.contains(&from)) {
                cutter.zeros(len).unwrap();
            } else {
                cutter.data(&self.bytes[from..to]).unwrap();
            }
        }
        cutter.finish().unwrap();
        (parts, self.bytes.len() as u64)
    }

    /// Whether a disk holds the image, holes aside and up to `len`.
    pub(super) fn is_on(&self, disk: &[u8], len: usize) -> bool {
        let len = len.min(self.bytes.len());
        let mut found = disk[..len].to_vec();
        for hole in &self.holes {
            found[hole.start.min(len)..hole.end.min(len)].fill(0);
        }
        found == self.bytes[..len]
    }
}

pub(super) struct Setup {
    pub(super) check: Check,
    pub(super) rewrite: Rewrite,
    pub(super) interrupted: AtomicBool,
    pub(super) meter: Meter,
}

impl Default for Setup {
    fn default() -> Self {
        let interrupted = AtomicBool::new(false);
        Self { check: Check::Verify, rewrite: Rewrite::All, interrupted, meter: Meter::default() }
    }
}

impl Setup {
    pub(super) fn write(&self, disk: &MemoryDisk, image: &Image) -> Result<Report, Error> {
        let options = Options {
            check: self.check,
            rewrite: self.rewrite,
            grow: false,
            sector: SectorSize::S512,
            interrupted: &self.interrupted,
            meter: &self.meter,
        };
        let (parts, len) = image.parts();
        let mut writing = begin(disk, options)?;
        for part in &parts {
            writing = writing.part(part)?;
        }
        writing.flush(len)?.verify()?.finish()
    }
}

pub(super) fn write(disk: &MemoryDisk, image: &Image) -> Result<Report, Error> {
    Setup::default().write(disk, image)
}

/// Whether a kernel could take something on a disk for a table.
pub(super) fn has_table(disk: &[u8]) -> bool {
    let is_gpt = |at: usize| disk.get(at..at + 8) == Some(b"EFI PART");
    disk[510..512] == [0x55, 0xaa] || [512, 4096, disk.len() - 512, disk.len() - 4096].into_iter().any(is_gpt)
}
