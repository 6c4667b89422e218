//! What a FAT volume has twice: a reader takes one copy, and the other may be what somebody else reads.

use super::{Error, boot};
use crate::num;
use crate::stream::ReadAt;

/// Bytes compared at a time.
const CHUNK: u64 = 64 << 10;
/// The byte of a FAT32's boot sector that Linux changes while it has the volume mounted, in the first copy only.
const STATE: usize = 0x41;
const BACKUP: usize = 0x32;

/// The name of what is not the same in both copies; `None` when all is.
pub fn differ<R: ReadAt>(volume: &R) -> Result<Option<&'static str>, Error> {
    let boot = boot::read(volume)?;
    let mut first = [0; 512];
    read(volume, &mut first, 0)?;
    let backup = u64::from(u16::from_le_bytes([first[BACKUP], first[BACKUP + 1]]));
    if boot.root_cluster != 0 && backup != 0 {
        let mut second = [0; 512];
        read(volume, &mut second, backup * boot.sector_bytes)?;
        second[STATE] = first[STATE];
        if first != second {
            return Ok(Some("boot sector"));
        }
    }
    let len = boot.fat * boot.sector_bytes;
    // All copies, whichever BPB_ExtFlags calls the active one.
    let reserved = u64::from(u16::from_le_bytes([first[0x0e], first[0x0f]]));
    let fats = u64::from(first[0x10]);
    let start = reserved * boot.sector_bytes;
    let (mut ours, mut other) = (vec![0; num::to_usize(CHUNK)], vec![0; num::to_usize(CHUNK)]);
    for copy in 1..fats {
        let mut at = 0;
        while at < len {
            let now = num::to_usize(CHUNK.min(len - at));
            read(volume, &mut ours[..now], start + at)?;
            read(volume, &mut other[..now], start + copy * len + at)?;
            if ours[..now] != other[..now] {
                return Ok(Some("table of clusters"));
            }
            at += num::to_u64(now);
        }
    }
    Ok(None)
}

fn read<R: ReadAt>(volume: &R, out: &mut [u8], offset: u64) -> Result<(), Error> {
    volume.read_exact_at(out, offset).map_err(|source| Error::Io { offset, source })
}
