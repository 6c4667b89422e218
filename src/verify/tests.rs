use super::*;
use crate::device::Bad;
use crate::device::testing::{Fault, MemoryDisk};
use crate::format::disk::partition_table::{Gpt, GptPartition, Table, encode};
use crate::image::{Piece, SourceError};
use uuid::Uuid;

const MIB: usize = 1 << 20;

/// Pieces of an image: data with a hole from 3 to 3.5 MiB and zeros from 5 MiB to 5.5 MiB.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    fails_at: Option<usize>,
}

impl Source for Pieces {
    fn len(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        let at = self.at;
        if self.fails_at.is_some_and(|fails| at >= fails) {
            return Err(SourceError::Bad("truncated".into()));
        }
        let marks = [3 * MIB, 3 * MIB + MIB / 2, 5 * MIB, 5 * MIB + MIB / 2, self.bytes.len()];
        let end = marks.into_iter().find(|mark| *mark > at).unwrap_or(at).min(self.bytes.len());
        let n = end - at;
        self.at = end;
        Ok(match at {
            _ if n == 0 => None,
            at if at == 3 * MIB => Some(Piece::Skip(n as u64)),
            at if at == 5 * MIB => Some(Piece::Zeros(n as u64)),
            _ => {
                self.at = at + n.min(MIB);
                Some(Piece::Data(&self.bytes[at..self.at]))
            }
        })
    }
}

fn image(len: usize) -> Pieces {
    let mut bytes: Vec<u8> = (0..len).map(|n| (n / 3 % 251 + 1) as u8).collect();
    bytes[3 * MIB..3 * MIB + MIB / 2].fill(0);
    bytes[5 * MIB..5 * MIB + MIB / 2].fill(0);
    let partition = GptPartition {
        number: 1,
        start: 2048,
        sectors: 4096,
        type_guid: Uuid::from_u128(1),
        unique_guid: Uuid::from_u128(2),
        name: String::new(),
        attributes: 0,
    };
    let table = Table::Gpt(Gpt { disk_guid: Uuid::from_u128(3), partitions: vec![partition] });
    for (offset, table) in encode(&table, len as u64, SectorSize::S512).unwrap() {
        bytes[offset as usize..][..table.len()].copy_from_slice(&table);
    }
    Pieces { bytes, at: 0, fails_at: None }
}

fn run(disk: &MemoryDisk, source: &mut Pieces) -> Result<Comparison, Error> {
    let (interrupted, meter) = (AtomicBool::new(false), Meter::default());
    compare(disk, source, &Options { sector: SectorSize::S512, interrupted: &interrupted, meter: &meter })
}

/// A card of 9 MiB that an image of 8 MiB was written to.
fn card(source: &Pieces) -> Vec<u8> {
    let mut bytes = source.bytes.clone();
    bytes.resize(9 * MIB, 0xaa);
    bytes[3 * MIB..3 * MIB + MIB / 2].fill(0xaa);
    bytes
}

#[test]
fn a_card_is_equal_whatever_lies_in_holes_and_behind() {
    let disk = MemoryDisk::of(card(&image(8 * MIB)));
    let found = run(&disk, &mut image(8 * MIB)).unwrap();
    assert!(found.is_equal() && !found.backup_moved && found.cache_bypassed);
    assert_eq!((found.image_len as usize, found.compared as usize), (8 * MIB, 8 * MIB - MIB / 2));
}

#[test]
fn every_changed_sector_is_told() {
    let before = card(&image(8 * MIB));
    for at in [0, 511, 4096, MIB - 1, MIB, 3 * MIB - 1, 4 * MIB + 77, 5 * MIB, 5 * MIB + 9999, 8 * MIB - 1] {
        let disk = MemoryDisk::of(before.clone());
        disk.change(|bytes| bytes[at] ^= 0x20);
        let found = run(&disk, &mut image(8 * MIB)).unwrap();
        let offset = at as u64 / 512 * 512;
        assert_eq!(found.differences.ranges, [Bad { offset, len: 512 }], "{at}");
    }
}

#[test]
fn a_moved_backup_is_equal_and_a_wrong_one_is_not() {
    let mut source = image(8 * MIB);
    let mut bytes = card(&source);
    let moved = relocate(&mut bytes[..MIB], 9 << 20, SectorSize::S512).unwrap();
    bytes[moved.offset as usize..].copy_from_slice(&moved.backup);
    let (from, len) = moved.stale.unwrap();
    let disk = MemoryDisk::of(bytes);
    assert!(run(&disk, &mut source).unwrap().is_equal(), "the old backup may still be there");
    disk.change(|bytes| bytes[from as usize..(from + len) as usize].fill(0));
    let found = run(&disk, &mut image(8 * MIB)).unwrap();
    assert!(found.is_equal() && found.backup_moved, "{found:?}");
    disk.change(|bytes| bytes[9 * MIB - 500] ^= 1);
    let found = run(&disk, &mut image(8 * MIB)).unwrap();
    assert_eq!(found.differences.first(), Some((9 << 20) - 512));
}

#[test]
fn what_cannot_be_read_differs_and_what_is_gone_is_an_error() {
    let before = card(&image(8 * MIB));
    let disk = MemoryDisk::of(before.clone()).fault_once(3, Fault::Raw(5));
    let found = run(&disk, &mut image(8 * MIB)).unwrap();
    assert!(found.differences.unreadable > 0 && found.differences.count == 1, "{found:?}");
    let disk = MemoryDisk::of(before.clone()).fault_from(3, Fault::Raw(19));
    assert!(matches!(run(&disk, &mut image(8 * MIB)), Err(Error::Read { .. })));
    let disk = MemoryDisk::of(before[..6 * MIB].to_vec());
    assert!(matches!(run(&disk, &mut image(8 * MIB)), Err(Error::TooSmall { .. })));
    let mut source = Pieces { fails_at: Some(2 * MIB), ..image(8 * MIB) };
    assert!(matches!(run(&MemoryDisk::of(before), &mut source), Err(Error::Image(CopyError::Source(_)))));
}
