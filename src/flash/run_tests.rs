use super::*;
use crate::device::Meter;
use crate::device::testing::{Fault as Wrong, MemoryDisk};
use crate::device::write::Verification;
use crate::device::write::{Check, Rewrite};
use crate::format::disk::partition_table::SectorSize;
use crate::format::disk::partition_table::{Mbr, MbrPartition, Table, encode};
use crate::image::{Piece, SourceError};

const MIB: usize = 1 << 20;

/// An image in memory, whose last bytes may be missing.
struct Bytes {
    bytes: Vec<u8>,
    at: usize,
    len: Option<u64>,
    fails_at: Option<usize>,
}

impl Source for Bytes {
    fn len(&self) -> Option<u64> {
        self.len
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        if self.fails_at.is_some_and(|at| self.at >= at) {
            return Err(SourceError::Bad("truncated".into()));
        }
        let from = self.at;
        self.at += (self.bytes.len() - from).min(300_007);
        Ok((self.at > from).then_some(Piece::Data(&self.bytes[from..self.at])))
    }
}

fn image(len: usize) -> Bytes {
    let mut bytes: Vec<u8> = (0..len).map(|n| (n / 5 % 253) as u8).collect();
    let partition = MbrPartition { number: 1, start: 2048, sectors: 2048, kind: 0x83, active: false };
    let table = Table::Mbr(Mbr { disk_id: 1, partitions: vec![partition] });
    if len >= 4 * MIB {
        for (offset, table) in encode(&table, len as u64, SectorSize::S512).unwrap() {
            bytes[offset as usize..][..table.len()].copy_from_slice(&table);
        }
    }
    Bytes { bytes, at: 0, len: Some(len as u64), fails_at: None }
}

fn run(source: &mut Bytes, disks: &[&MemoryDisk], sector: u32) -> Outcome {
    let meters: Vec<_> = disks.iter().map(|_| Meter::default()).collect();
    let cards: Vec<_> =
        disks.iter().zip(&meters).map(|(disk, meter)| Card { disk: *disk, sector, meter }).collect();
    let interrupted = AtomicBool::new(false);
    let options = Options {
        check: Check::Verify,
        rewrite: Rewrite::All,
        grow: false,
        image_sector: None,
        interrupted: &interrupted,
    };
    write(source, &cards, &options)
}

#[test]
fn several_cards_get_the_image_and_a_failing_one_holds_back_none() {
    let mut source = image(9 * MIB + 777);
    let bytes = source.bytes.clone();
    let good = MemoryDisk::new(16 * MIB);
    let failing = MemoryDisk::new(16 * MIB).fault_from(20, Wrong::Raw(5));
    let small = MemoryDisk::new(8 * MIB);
    let other = MemoryDisk::new(12 * MIB);
    let outcome = run(&mut source, &[&good, &failing, &small, &other], 512);
    assert_eq!(outcome.image.unwrap(), bytes.len() as u64);
    for (index, disk) in [(0, &good), (3, &other)] {
        assert_eq!(outcome.cards[index].as_ref().unwrap().verification, Verification::Medium);
        assert!(disk.bytes()[..bytes.len()] == bytes);
    }
    let error = outcome.cards[1].as_ref().unwrap_err();
    assert!(matches!(error.fault, Fault::Read { .. } | Fault::Write { .. }), "{error}");
    let error = outcome.cards[2].as_ref().unwrap_err();
    assert!(matches!(error.fault, Fault::TooLong { .. }));
    assert_eq!((error.left, small.count()), (Left::Untouched, 0), "{error}");
}

#[test]
fn when_all_cards_fail_the_source_is_left() {
    let mut source = image(64 * MIB);
    let disk = MemoryDisk::new(64 * MIB).fault_from(30, Wrong::Raw(19));
    let outcome = run(&mut source, &[&disk], 512);
    assert!(matches!(outcome.cards[0].as_ref().unwrap_err().fault, Fault::Vanished { .. }));
    assert!(outcome.image.is_err() && source.at < 60 * MIB, "{}", source.at);
}

#[test]
fn a_source_that_fails_leaves_no_table_or_the_card_as_it_was() {
    for (fails_at, left) in [
        (0, Left::Untouched),
        (MIB / 2, Left::Untouched),
        (2 * MIB, Left::Unbootable),
        (6 * MIB, Left::Unbootable),
    ] {
        let mut source = Bytes { fails_at: Some(fails_at), ..image(6 * MIB) };
        let disk = MemoryDisk::new(8 * MIB);
        let outcome = run(&mut source, &[&disk], 512);
        assert!(matches!(outcome.image, Err(CopyError::Source(_))), "{fails_at}");
        let error = outcome.cards[0].as_ref().unwrap_err();
        assert!(matches!(error.fault, Fault::Source));
        assert_eq!(error.left, left, "{fails_at}");
        assert_eq!(disk.bytes()[510..512] == [0xaa, 0xaa], left == Left::Untouched);
    }
}

#[test]
fn a_table_for_other_sectors_touches_nothing() {
    for (len, sector, expected) in [(6 * MIB, 4096, 512), (6 * MIB, 2048, 512)] {
        let disk = MemoryDisk::new(8 * MIB);
        let outcome = run(&mut image(len), &[&disk], sector);
        let error = outcome.cards[0].as_ref().unwrap_err();
        assert!(matches!(error.fault, Fault::Sector { expected: e, .. } if e == expected), "{error}");
        assert_eq!((disk.count(), error.left), (0, Left::Untouched));
    }
    let disk = MemoryDisk::new(8 * MIB);
    assert!(run(&mut image(2 * MIB), &[&disk], 4096).cards[0].is_ok(), "an image without a table fits any");
}

#[test]
fn an_empty_image_and_one_of_unknown_length_are_told_apart() {
    let disk = MemoryDisk::new(8 * MIB);
    let outcome = run(&mut image(0), &[&disk], 512);
    assert!(matches!(outcome.cards[0].as_ref().unwrap_err().fault, Fault::Empty));
    assert_eq!(disk.count(), 0);
    let mut source = Bytes { len: None, ..image(9 * MIB) };
    let error = run(&mut source, &[&disk], 512).cards.remove(0).unwrap_err();
    assert!(matches!(error.fault, Fault::TooLong { .. }));
    assert_eq!(error.left, Left::Unbootable);
    let mut source = Bytes { len: None, ..image(8 * MIB) };
    assert!(run(&mut source, &[&disk], 512).cards[0].is_ok());
}
