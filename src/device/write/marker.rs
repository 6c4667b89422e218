//! What stands in the first and last MiB of a card while it is written, and at a few places that are probed.
//!
//! ```text
//! every 512 bytes   "nixflash: unfinished write GG, sector SSSSSSSSSSSSSSSS\n", the rest zeros
//! ```
//! No reader takes that for a partition table, a file system or a part of an array. Each sector differs from all
//! others, so a card that has fewer sectors than it says cannot give each of them back.

use crate::device::disk::{ALIGN, Disk, read_exact};
use crate::ints;

/// The length of one marker.
const SECTOR: usize = 512;

/// Fills whole sectors that begin at `offset` with markers.
pub fn fill(out: &mut [u8], offset: u64, generation: u8) {
    out.fill(0);
    for (sector, number) in out.chunks_mut(SECTOR).zip(offset / ints::to_u64(SECTOR)..) {
        let text = format!("nixflash: unfinished write {generation:02x}, sector {number:016x}\n");
        let n = text.len().min(sector.len());
        sector[..n].copy_from_slice(&text.as_bytes()[..n]);
    }
}

/// Whether a disk holds a marker in its first sector: a write to it was not finished.
#[must_use]
pub fn is_unfinished(start: &[u8]) -> bool {
    start.starts_with(b"nixflash: unfinished write ")
}

/// Whether a run of sectors holds its markers.
pub fn holds(bytes: &[u8], offset: u64, generation: u8) -> bool {
    let mut expected = [0; SECTOR];
    bytes.chunks(SECTOR).zip((offset..).step_by(SECTOR)).all(|(sector, at)| {
        fill(&mut expected, at, generation);
        sector == &expected[..sector.len()]
    })
}

/// Where a page is probed: at powers of two between the first and the last MiB, where small chips sold as large ones
/// end. Those that end elsewhere are found when all is read back.
pub fn places(from: u64, to: u64) -> impl Iterator<Item = u64> {
    let page = ints::to_u64(ALIGN);
    (0..63).map(|exponent| 1u64 << exponent).filter(move |at| *at >= from && at.saturating_add(page) <= to)
}

/// A generation whose markers are at none of the places, so that finding one later means that it was written now.
pub fn fresh_generation(disk: &dyn Disk, places: &[u64], scratch: &mut [u8]) -> u8 {
    let mut taken = [false; 256];
    for at in places {
        // A whole page, as disks with sectors of 4096 bytes read no less.
        let len = scratch.len().min(ints::to_usize(disk.len().saturating_sub(*at)));
        let page = &mut scratch[..len];
        // A place that cannot be read holds no marker; writing it may mend it, and if not, reading it back tells.
        if read_exact(disk, page, *at).is_err() {
            continue;
        }
        let number = page.get(27..29).and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(number) = number.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            taken[usize::from(number)] |= is_unfinished(page);
        }
    }
    // Places are far fewer than generations.
    (0..=u8::MAX).find(|generation| !taken[usize::from(*generation)]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::MemoryDisk;

    #[test]
    fn no_sector_looks_like_a_table_and_each_is_its_own() {
        let mut bytes = vec![0xff; 1 << 20];
        fill(&mut bytes, 3 << 20, 0xab);
        assert!(
            holds(&bytes, 3 << 20, 0xab) && !holds(&bytes, 3 << 20, 0xac) && !holds(&bytes, 4 << 20, 0xab)
        );
        let mut sectors: Vec<_> = bytes.chunks(512).collect();
        assert!(sectors.iter().all(|sector| sector[510..] == [0, 0] && !sector.starts_with(b"EFI PART")));
        sectors.sort_unstable();
        sectors.dedup();
        assert_eq!(sectors.len(), 2048);
        assert!(is_unfinished(&bytes));
        assert!(bytes.starts_with(b"nixflash: unfinished write ab, sector 0000000000001800\n"));
    }

    #[test]
    fn a_generation_that_is_there_already_is_not_used_again() {
        let disk = MemoryDisk::new(8 << 20);
        let mut scratch = vec![0; ALIGN];
        assert_eq!(fresh_generation(&disk, &[0, 4096], &mut scratch), 0);
        disk.change(|bytes| fill(&mut bytes[4096..8192], 4096, 0));
        disk.change(|bytes| fill(&mut bytes[..4096], 0, 1));
        assert_eq!(fresh_generation(&disk, &[0, 4096], &mut scratch), 2);
    }

    #[test]
    fn powers_of_two_are_probed() {
        let places: Vec<_> = places(1 << 20, (16 << 20) - 4096).collect();
        assert_eq!(places, [1 << 20, 2 << 20, 4 << 20, 8 << 20]);
    }
}
