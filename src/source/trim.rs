//! Leaves out the zeros of an image that nobody will read: free blocks of its file systems.
//!
//! The image passes once, in order, so its table and the maps of its file systems are taken in as they pass; a map that
//! comes behind what it describes comes too late, and then the zeros count. Bytes that are not zero always count,
//! wherever they are.

use crate::format::disk::ext4::free_blocks::Ext4;
use crate::format::disk::fat::free_clusters::Fat;
use crate::format::disk::partition_table::read;
use crate::format::disk::usage::{Run, Usage, Want};
use crate::image::{Piece, Source, SourceError};
use crate::ints;
use crate::stream::ReadAt;
use std::collections::BTreeMap;
use std::io;

/// The bytes that hold a table, whatever the sector size: six sectors of 4096 bytes, or 34 of 512.
const HEAD: usize = 24 << 10;
/// Partitions that are looked at.
const MAX_PARTITIONS: usize = 128;

/// An image without the zeros that do not matter.
pub struct Trim<S> {
    inner: S,
    watch: Watch,
    /// Zeros that were taken from `inner` and not handed out yet, from and to.
    zeros: Option<(u64, u64)>,
}

impl<S: Source> Trim<S> {
    /// Trims an image.
    pub fn new(inner: S) -> Self {
        Self { inner, watch: Watch::default(), zeros: None }
    }
}

/// Splits the first run off the zeros that are at hand.
fn split(watch: &Watch, zeros: &mut Option<(u64, u64)>) -> Option<Piece<'static>> {
    let (from, to) = (*zeros)?;
    let run = watch.run(from, to);
    *zeros = (run.end < to).then_some((run.end, to));
    let len = run.end - from;
    Some(if run.matters { Piece::Zeros(len) } else { Piece::Skip(len) })
}

impl<S: Source> Source for Trim<S> {
    fn len(&self) -> Option<u64> {
        self.inner.len()
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        if let Some(piece) = split(&self.watch, &mut self.zeros) {
            return Ok(Some(piece));
        }
        let from = self.watch.position;
        match self.inner.next()? {
            Some(Piece::Data(bytes)) => {
                self.watch.pass(Some(bytes), ints::to_u64(bytes.len()));
                return Ok(Some(Piece::Data(bytes)));
            }
            Some(Piece::Skip(len)) => {
                self.watch.pass(None, len);
                return Ok(Some(Piece::Skip(len)));
            }
            Some(Piece::Zeros(len)) => {
                self.watch.pass(None, len);
                self.zeros = Some((from, from.saturating_add(len)));
            }
            None => return Ok(None),
        }
        Ok(split(&self.watch, &mut self.zeros))
    }
}

/// What a piece that is wanted belongs to.
#[derive(Clone, Copy)]
enum Owner {
    Head,
    Superblock { start: u64, len: u64 },
    BootSector { start: u64, len: u64 },
    Map(usize),
}

struct Wanted {
    owner: Owner,
    want: Want,
    bytes: Vec<u8>,
}

/// A partition whose maps are known.
struct Known {
    start: u64,
    end: u64,
    usage: Box<dyn Usage>,
}

/// Takes in tables and maps as they pass.
struct Watch {
    position: u64,
    /// By where they begin; several may begin at the same place.
    wanted: BTreeMap<(u64, usize), Wanted>,
    /// The next number that tells those apart.
    next: usize,
    known: Vec<Known>,
}

impl Default for Watch {
    fn default() -> Self {
        let mut watch = Self { position: 0, wanted: BTreeMap::new(), next: 0, known: Vec::new() };
        watch.want(Owner::Head, 0, Want { offset: 0, len: ints::to_u64(HEAD) });
        watch
    }
}

impl Watch {
    /// Wants a piece, unless it has begun to pass already.
    fn want(&mut self, owner: Owner, start: u64, want: Want) {
        if let Some(at) = start.checked_add(want.offset).filter(|at| *at >= self.position) {
            self.wanted.insert((at, self.next), Wanted { owner, want, bytes: Vec::new() });
            self.next += 1;
        }
    }

    /// The next `len` bytes pass: these, or zeros.
    fn pass(&mut self, bytes: Option<&[u8]>, len: u64) {
        let (from, to) = (self.position, self.position.saturating_add(len));
        while self.position < to {
            // Up to where the next piece is complete: what it says may lead to others within the same bytes.
            let begun = self.wanted.range(..(to, 0));
            let stop = begun.map(|(key, wanted)| key.0 + wanted.want.len).min().unwrap_or(to).min(to);
            for (key, wanted) in self.wanted.range_mut(..(stop, 0)) {
                let start = self.position.max(key.0);
                match bytes {
                    Some(bytes) => {
                        wanted
                            .bytes
                            .extend(&bytes[ints::to_usize(start - from)..ints::to_usize(stop - from)]);
                    }
                    None => wanted.bytes.resize(ints::to_usize(stop - key.0), 0),
                }
            }
            self.position = stop;
            let complete: Vec<_> = self
                .wanted
                .range(..(stop, 0))
                .filter(|(key, wanted)| key.0 + wanted.want.len <= stop)
                .map(|(key, _)| *key)
                .collect();
            for key in complete {
                if let Some(wanted) = self.wanted.remove(&key) {
                    self.settle(wanted);
                }
            }
        }
        for known in &mut self.known {
            known.usage.forget(from.saturating_sub(known.start));
        }
    }

    fn settle(&mut self, wanted: Wanted) {
        match wanted.owner {
            Owner::Head => self.table(&wanted.bytes),
            Owner::Superblock { start, len } => {
                if let Some(map) = Ext4::new(&wanted.bytes, len) {
                    let first = map.descriptors();
                    self.know(start, len, Box::new(map), first);
                }
            }
            Owner::BootSector { start, len } => {
                if let Some(map) = Fat::new(&wanted.bytes, len) {
                    let first = map.table();
                    self.know(start, len, Box::new(map), first);
                }
            }
            Owner::Map(index) => {
                let Some(known) = self.known.get_mut(index) else { return };
                let start = known.start;
                for want in known.usage.take(wanted.want, &wanted.bytes) {
                    self.want(Owner::Map(index), start, want);
                }
            }
        }
    }

    fn table(&mut self, head: &[u8]) {
        let Ok(reading) = read(&Head(head)) else { return };
        let places = reading.places().into_iter().map(|place| (place.start, place.len));
        let places: Vec<_> =
            places.filter(|(start, _)| *start >= ints::to_u64(HEAD)).take(MAX_PARTITIONS).collect();
        let overlap =
            |a: &(u64, u64), b: &(u64, u64)| a.0 < b.0.saturating_add(b.1) && b.0 < a.0.saturating_add(a.1);
        for (index, (start, len)) in places.iter().copied().enumerate() {
            // Where two partitions share bytes, one's free blocks may be the other's data.
            let shared =
                (0..).zip(&places).any(|(other, place)| other != index && overlap(place, &(start, len)));
            if !shared {
                self.want(Owner::Superblock { start, len }, start, Ext4::SUPERBLOCK);
                self.want(Owner::BootSector { start, len }, start, Fat::BOOT_SECTOR);
            }
        }
    }

    fn know(&mut self, start: u64, len: u64, usage: Box<dyn Usage>, first: Want) {
        let index = self.known.len();
        self.known.push(Known { start, end: start.saturating_add(len), usage });
        self.want(Owner::Map(index), start, first);
    }

    /// Whether zeros at `from` matter, and up to where, at most `to`.
    fn run(&self, from: u64, to: u64) -> Run {
        let inside = self.known.iter().find(|known| (known.start..known.end).contains(&from));
        let Some(known) = inside else {
            let next = self.known.iter().map(|known| known.start).filter(|start| *start > from).min();
            return Run { matters: true, end: next.unwrap_or(to).min(to) };
        };
        let run = known.usage.run(from - known.start);
        let end = known.start.saturating_add(run.end).min(known.end).min(to);
        Run { matters: run.matters, end }
    }
}

/// The start of a disk of unknown length.
struct Head<'a>(&'a [u8]);

impl ReadAt for Head<'_> {
    fn size(&self) -> u64 {
        1 << 50
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = ints::to_usize(offset).min(self.0.len());
        let len = buf.len().min(self.0.len() - from);
        buf[..len].copy_from_slice(&self.0[from..from + len]);
        buf[len..].fill(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::read::stream::Stream;

    /// An image of two FAT16 partitions, 2 MiB and 8 MiB from the start, of 6 MiB each, in pieces of any length.
    fn image() -> Vec<u8> {
        use crate::format::disk::partition_table::{Mbr, MbrPartition, SectorSize, Table, encode};
        let mut image = vec![0; 16 << 20];
        let places = [(1, 2u64 << 11), (2, 8 << 11)];
        let partitions = places.map(|(number, start)| MbrPartition {
            number,
            start,
            sectors: 6 << 11,
            kind: 6,
            active: false,
        });
        let table = Table::Mbr(Mbr { disk_id: 1, partitions: partitions.to_vec() });
        for (at, bytes) in encode(&table, 16 << 20, SectorSize::S512).unwrap() {
            image[ints::to_usize(at)..][..bytes.len()].copy_from_slice(&bytes);
        }
        for at in [2 << 20, 8 << 20] {
            let boot: &mut [u8] = &mut image[at..at + 512];
            boot[0x0b..0x18].copy_from_slice(&[0, 2, 2, 4, 0, 1, 0, 2, 0, 48, 0xf8, 48, 0]);
            boot[510..].copy_from_slice(&[0x55, 0xaa]);
            // Clusters 100 to 199 are in use, and cluster 300 holds something though it is free.
            image[at + 2048 + 200..at + 2048 + 400].fill(1);
            let data = at + 2048 + 48 * 512 + 512 * 32;
            image[data + 298 * 1024..][..5].fill(7);
        }
        image
    }

    fn pieces(image: &[u8]) -> Vec<(u8, u64, u64)> {
        let mut source = Trim::new(Stream::new(image, None));
        let (mut found, mut at): (Vec<(u8, u64, u64)>, u64) = (Vec::new(), 0);
        while let Some(piece) = source.next().unwrap() {
            let (kind, len) = match piece {
                Piece::Data(bytes) => (b'd', bytes.len() as u64),
                Piece::Zeros(len) => (b'z', len),
                Piece::Skip(len) => (b's', len),
            };
            match found.last_mut() {
                Some(last) if last.0 == kind => last.2 += len,
                _ => found.push((kind, at, at + len)),
            }
            at += len;
        }
        found
    }

    #[test]
    fn zeros_in_free_clusters_are_left_out_and_all_others_are_kept() {
        let found = pieces(&image());
        assert_eq!(found.first().unwrap(), &(b'd', 0, 4096));
        assert_eq!(found.last().unwrap().2, 16 << 20);
        for at in [2u64 << 20, 8 << 20] {
            let data = at + 2048 + 48 * 512 + 512 * 32;
            let of =
                |offset: u64| found.iter().find(|(_, from, to)| (*from..*to).contains(&offset)).unwrap().0;
            assert_eq!(of(data + 1024 * 50), b's', "free");
            assert_eq!(of(data + 1024 * 150), b'z', "in use");
            assert_eq!(of(data + 1024 * 298), b'd', "free, but not zero");
            assert_eq!(of(data + 1024 * 3000), b's');
            assert_eq!(of(at + 6_000), b'z', "before the clusters");
        }
        let first_skip = found.iter().find(|(kind, ..)| *kind == b's').unwrap().1;
        assert_eq!(first_skip, (2 << 20) + 2048 + 48 * 512 + 512 * 32);
        assert!(found.contains(&(b'z', 4096, 2 << 20)), "between table and partition");
    }

    #[test]
    fn partitions_that_overlap_are_kept_whole() {
        let mut image = image();
        let start = 446 + 8;
        image[start + 16..start + 20].copy_from_slice(&(4u32 << 11).to_le_bytes());
        assert!(pieces(&image).iter().all(|(kind, ..)| *kind != b's'));
    }
}
