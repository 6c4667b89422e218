use super::bench_tests::{Image, MIB, Setup, has_table, write};
use super::fault::{Fault, Left};
use super::phases::begin;
use super::{Check, Options, Rewrite, Verification};
use crate::device::testing::{Beyond, Call, Fault as Wrong, MemoryDisk};
use crate::format::disk::partition_table::{SectorSize, read};
use std::sync::atomic::Ordering;

#[test]
fn an_image_of_any_length_is_on_the_card_and_nothing_beyond_its_last_page() {
    let card = 9 * MIB + 512;
    for len in [512, 513, 4096, MIB - 1, MIB, MIB + 1, 5 * MIB + 51, 6 * MIB + 4097, 8 * MIB, card - 1, card]
    {
        let image = Image::plain(len);
        let disk = MemoryDisk::new(card);
        let report = write(&disk, &image).unwrap();
        let bytes = disk.bytes();
        assert!(image.is_on(&bytes, len), "{len}");
        assert_eq!((report.verification, report.image_len), (Verification::Medium, len as u64));
        let end = len.max(MIB).next_multiple_of(4096);
        let tail = (card - MIB) / 4096 * 4096;
        // Between the image and the last MiB only probed pages changed.
        let probed = |at: usize| (at / 4096 * 4096).is_power_of_two();
        assert!((end..tail).all(|at| bytes[at] == 0xaa || probed(at)), "{len}");
        assert!(bytes[len.max(tail)..].iter().all(|byte| *byte == 0), "{len}: the end is cleared");
    }
}

#[test]
fn holes_are_not_written_and_zeros_are() {
    let image = Image::plain(8 * MIB);
    let disk = MemoryDisk::new(10 * MIB);
    let report = write(&disk, &image).unwrap();
    let bytes = disk.bytes();
    assert!(bytes[3 * MIB..3 * MIB + MIB / 2].iter().all(|byte| *byte == 0xaa));
    assert!(bytes[5 * MIB..5 * MIB + 300_000].iter().all(|byte| *byte == 0));
    // The first and the last MiB twice, four probes, of which one is in a hole and is cleared, the rest once.
    let rest = 7 * MIB - MIB / 2 + 4096;
    assert_eq!(report.written as usize, 4 * MIB + 4 * 4096 + rest);
    assert_eq!(report.verified as usize, rest);
    assert!(!bytes.windows(22).step_by(512).any(|at| at == b"nixflash: unfinished w"), "no marker is left");
}

#[test]
fn no_prefix_of_the_writes_leaves_a_table_before_all_is_verified() {
    for image in [Image::gpt(6 * MIB), Image::mbr(6 * MIB), Image::gpt(8 * MIB)] {
        let card = 8 * MIB;
        // A card with a table of its own, and backups of others.
        let before = Image::gpt(card).bytes;
        assert!(has_table(&before));
        let disk = MemoryDisk::of(before.clone());
        write(&disk, &image).unwrap();
        let mut replay = before;
        let calls = disk.calls();
        let count = |is: fn(&Call) -> bool| calls.iter().filter(|call| is(call)).count();
        let writes = count(|call| matches!(call, Call::Write(..)));
        let last_read_of_data = calls
            .iter()
            .rposition(|call| matches!(call, Call::Read(at, _) if *at >= 2 << 20 && *at < 5 << 20));
        let (mut number, mut was_wiped, mut had_table) = (0, false, false);
        for (position, call) in calls.iter().enumerate() {
            let Call::Write(offset, bytes) = call else { continue };
            let at = *offset as usize;
            replay[at..at + bytes.len()].copy_from_slice(bytes);
            number += 1;
            // The first two wipe the old table; then there is none until the data have been read.
            was_wiped |= number == 2;
            let is_late = Some(position) > last_read_of_data;
            assert!(!was_wiped || !has_table(&replay) || is_late, "write {number} of {writes}");
            had_table |= was_wiped && has_table(&replay);
            if had_table {
                // From the first sign of a table on, all of the image but head and tail is there.
                assert!(replay[MIB..5 * MIB] == disk.bytes()[MIB..5 * MIB]);
            }
            let is_first_page = at == 0 && bytes.len() == 4096;
            assert_eq!(is_first_page, number == writes, "the first page comes last");
        }
        assert!(had_table && replay == disk.bytes());
        assert_eq!(calls.last(), Some(&Call::Read(0, 4096)), "the first page is read back");
    }
}

#[test]
fn every_fault_at_every_call_is_reported_and_leaves_no_table() {
    let image = Image::gpt(2 * MIB + 65536);
    let card = 3 * MIB + 65536;
    let before = Image::gpt(card).bytes;
    let setup = || MemoryDisk::of(before.clone());
    let clean = setup();
    write(&clean, &image).unwrap();
    let (calls, count, expected) = (clean.calls(), clean.count(), clean.bytes());
    let codes = [5, 28, 19, 110];
    for call in 1..=count {
        let is_write = matches!(calls[call - 1], Call::Write(..));
        let is_sync = calls[call - 1] == Call::Sync;
        let mut faults: Vec<_> = codes.into_iter().map(Wrong::Raw).collect();
        if !is_sync {
            faults.push(Wrong::Flipped);
        }
        faults.extend(is_write.then_some(Wrong::Dropped));
        for fault in faults {
            for stays in [false, true] {
                if stays && fault == Wrong::Flipped {
                    // Flipped on the way there and flipped on the way back: nobody can tell.
                    continue;
                }
                let disk = setup();
                let disk = if stays { disk.fault_from(call, fault) } else { disk.fault_once(call, fault) };
                let result = write(&disk, &image);
                let bytes = disk.bytes();
                let what = format!(
                    "call {call} of {count}, {:?}, {fault:?}, stays: {stays}",
                    kind(&calls[call - 1])
                );
                match result {
                    // A flipped bit of the first look at the card, or a probe that was never read, harms nothing.
                    Ok(report) => {
                        assert!(!is_write && !is_sync && !stays && call < 10, "{what}: {report:?}");
                        assert!(bytes[..image.bytes.len()] == expected[..image.bytes.len()], "{what}");
                    }
                    Err(error) => match error.left {
                        Left::Unbootable => assert!(!has_table(&bytes), "{what}: {error}"),
                        Left::Untouched => assert!(bytes == before, "{what}: {error}"),
                        Left::Unknown => assert!(stays || call < 20, "{what}: {error}"),
                        left => panic!("{what}: {left:?}"),
                    },
                }
            }
        }
    }
}

fn kind(call: &Call) -> (&'static str, u64) {
    match call {
        Call::Read(at, _) => ("read", *at),
        Call::Write(at, _) => ("write", *at),
        Call::Sync => ("sync", 0),
    }
}

#[test]
fn interrupted_and_short_calls_at_any_place_do_no_harm() {
    let image = Image::gpt(3 * MIB);
    let clean = MemoryDisk::new(5 * MIB);
    write(&clean, &image).unwrap();
    for call in 1..=clean.count() {
        for fault in [Wrong::Raw(4), Wrong::Short(512), Wrong::Short(5000)] {
            if clean.calls().get(call - 1) == Some(&Call::Sync) {
                continue;
            }
            let disk = MemoryDisk::new(5 * MIB).fault_once(call, fault);
            write(&disk, &image).unwrap_or_else(|error| panic!("call {call}, {fault:?}: {error}"));
            assert!(disk.bytes() == clean.bytes(), "call {call}, {fault:?}");
        }
    }
}

#[test]
fn a_card_that_has_less_than_it_says_is_found_out() {
    let image = Image::plain(6 * MIB);
    for beyond in [Beyond::Wrap, Beyond::Drop] {
        // Powers of two, and what no probe of powers of two can see.
        for real in [4 * MIB, 8 * MIB, 5 * MIB, 7 * MIB + 4096, 9 * MIB + 512 * 77, 15 * MIB] {
            let disk = MemoryDisk::new(16 * MIB).fake(real as u64, beyond);
            let error = match write(&disk, &image) {
                Err(error) => error,
                Ok(report) => {
                    // Only where the end of the card is another place of it that holds nothing.
                    assert!(beyond == Beyond::Wrap && real > 6 * MIB, "{beyond:?} {real}: {report:?}");
                    assert!(image.is_on(&disk.bytes(), 6 * MIB), "{beyond:?} {real}");
                    continue;
                }
            };
            assert!(
                matches!(error.fault, Fault::Counterfeit { .. } | Fault::Differs(_)),
                "{beyond:?} {real}: {error}"
            );
            assert!(!has_table(&disk.bytes()[..real.max(8192)]), "{beyond:?} {real}");
        }
    }
}

#[test]
fn a_byte_that_changes_after_the_write_is_named_and_the_card_is_wiped() {
    let image = Image::gpt(8 * MIB);
    for at in [MIB, 2 * MIB + 77, 4 * MIB, 5 * MIB + 12345, 7 * MIB - 1] {
        let disk = MemoryDisk::of(vec![0; 9 * MIB]);
        let setup = Setup::default();
        let options = Options {
            check: Check::Verify,
            rewrite: Rewrite::All,
            grow: false,
            sector: SectorSize::S512,
            interrupted: &setup.interrupted,
            meter: &setup.meter,
        };
        let (parts, len) = image.parts();
        let mut writing = begin(&disk, options).unwrap();
        for part in &parts {
            writing = writing.part(part).unwrap();
        }
        let flushed = writing.flush(len).unwrap();
        disk.change(|bytes| bytes[at] ^= 8);
        let Err(error) = flushed.verify() else { panic!("{at} was not found") };
        let Fault::Differs(found) = &error.fault else { panic!("{error}") };
        let bad = found.ranges[0];
        assert!(bad.offset <= at as u64 && (at as u64) < bad.offset + bad.len && bad.len <= 65536);
        assert_eq!((found.count, error.left), (1, Left::Unbootable));
        assert!(!has_table(&disk.bytes()));
    }
}

#[test]
fn a_gpt_gets_its_backup_at_the_real_end() {
    let image = Image::gpt(4 * MIB);
    for card in [4 * MIB + 512, 5 * MIB, 6 * MIB + 512 * 3, 9 * MIB + 512] {
        let disk = MemoryDisk::new(card);
        let report = write(&disk, &image).unwrap();
        let bytes = disk.bytes();
        assert!(report.backup_moved);
        let reading = read(&&bytes[..]).unwrap();
        assert_eq!(reading.problems, Vec::<crate::format::disk::partition_table::Problem>::new(), "{card}");
        assert_eq!(bytes[card - 512..card - 504], *b"EFI PART");
        let magics = bytes.windows(8).filter(|window| *window == b"EFI PART").count();
        assert_eq!(magics, 2, "{card}: the old backup is cleared");
        assert!(image.is_on(&bytes[..], 4 * MIB - 33 * 512) || bytes[512..1024] != image.bytes[512..1024]);
    }
    let disk = MemoryDisk::new(4 * MIB);
    assert!(!write(&disk, &image).unwrap().backup_moved);
    assert!(image.is_on(&disk.bytes(), 4 * MIB));
}

#[test]
fn a_second_run_that_writes_only_changes_writes_none() {
    let image = Image::gpt(8 * MIB);
    let disk = MemoryDisk::new(8 * MIB);
    let first = write(&disk, &image).unwrap();
    let expected = disk.bytes();
    let setup = Setup { rewrite: Rewrite::Changed, ..Setup::default() };
    let second = setup.write(&disk, &image).unwrap();
    assert!(disk.bytes() == expected);
    // The first and the last MiB are written twice, and what was probed is put back, the rest not at all.
    let (probes, grain) = (3, 64 << 10);
    let (written, kept) = (4 * MIB + probes * (4096 + grain), 6 * MIB - MIB / 2 - probes * grain);
    assert_eq!((second.written as usize, second.kept as usize), (written, kept));
    assert_eq!(second.verified, first.verified);
    disk.change(|bytes| bytes[5 * MIB + 299_999] = 1);
    disk.change(|bytes| bytes[6 * MIB] ^= 1);
    let setup = Setup { rewrite: Rewrite::Changed, ..Setup::default() };
    let third = setup.write(&disk, &image).unwrap();
    assert!(image.is_on(&disk.bytes(), 8 * MIB));
    assert!(third.written <= second.written + 3 * 65536, "{third:?}");
}

#[test]
fn an_interrupt_leaves_no_table() {
    let disk = MemoryDisk::of(Image::gpt(8 * MIB).bytes);
    let setup = Setup::default();
    setup.interrupted.store(true, Ordering::Relaxed);
    let error = setup.write(&disk, &Image::gpt(8 * MIB)).unwrap_err();
    assert!(matches!(error.fault, Fault::Interrupted));
    assert_eq!(error.left, Left::Unbootable);
    assert!(!has_table(&disk.bytes()));
}

#[test]
fn an_image_longer_than_the_card_never_wraps() {
    for len in [5 * MIB + 1, 5 * MIB + 512, 6 * MIB, 12 * MIB] {
        let disk = MemoryDisk::new(5 * MIB);
        let error = write(&disk, &Image::plain(len)).unwrap_err();
        assert!(matches!(error.fault, Fault::TooLong { len } if len == 5 << 20), "{len}: {error}");
        assert!(!has_table(&disk.bytes()));
    }
}

#[test]
fn what_comes_out_of_a_cache_is_not_called_verified() {
    let disk = MemoryDisk::new(5 * MIB).cached();
    assert_eq!(write(&disk, &Image::plain(3 * MIB)).unwrap().verification, Verification::Cached);
    let setup = Setup { check: Check::Skip, ..Setup::default() };
    let disk = MemoryDisk::new(5 * MIB);
    let report = setup.write(&disk, &Image::plain(3 * MIB)).unwrap();
    assert_eq!((report.verification, report.verified), (Verification::Skipped, 0));
}

#[test]
fn an_error_says_what_where_and_what_is_left() {
    let image = Image::plain(3 * MIB);
    let clean = MemoryDisk::new(5 * MIB);
    write(&clean, &image).unwrap();
    for (offset, len, left) in [
        (0, MIB, "its partition table could not be wiped: do not trust it"),
        (MIB, 2 * MIB, "it has no partition table now and does not boot"),
    ] {
        let is_it = |call: &Call| matches!(call, Call::Write(at, bytes) if (*at as usize, bytes.len()) == (offset, len));
        let call = clean.calls().iter().position(is_it).unwrap() + 1;
        let disk = MemoryDisk::new(5 * MIB).fault_from(call, Wrong::Raw(5));
        let error = write(&disk, &image).unwrap_err().to_string();
        assert_eq!(error, format!("memory: cannot write {len} bytes at byte {offset}; {left}"));
    }
}
