//! What a FAT volume has twice: a reader takes one copy, and the other may be what somebody else reads.

use super::boot;
use super::error::Error;
use crate::format::disk::fat::ondisk::boot_sector::{
    BPB_BK_BOOT_SEC, BPB_NUM_FATS, BPB_RSVD_SEC_CNT, BS_RESERVED1, LEN,
};
use crate::ints;
use crate::stream::ReadAt;

/// Bytes compared at a time.
const CHUNK: u64 = 64 << 10;

/// The name of what is not the same in both copies; `None` when all is.
pub fn differ<R: ReadAt>(volume: &R) -> Result<Option<&'static str>, Error> {
    let boot = boot::read(volume)?;
    let mut first = [0; LEN];
    read(volume, &mut first, 0)?;
    let backup = u64::from(BPB_BK_BOOT_SEC.get(&first));
    if boot.root_cluster != 0 && backup != 0 {
        let mut second = [0; LEN];
        read(volume, &mut second, backup * boot.sector_bytes)?;
        BS_RESERVED1.put(&mut second, BS_RESERVED1.get(&first));
        if first != second {
            return Ok(Some("boot sector"));
        }
    }
    let len = boot.fat * boot.sector_bytes;
    // All copies, whichever BPB_ExtFlags calls the active one.
    let fats = u64::from(BPB_NUM_FATS.get(&first));
    let start = u64::from(BPB_RSVD_SEC_CNT.get(&first)) * boot.sector_bytes;
    let (mut ours, mut other) = (vec![0; ints::to_usize(CHUNK)], vec![0; ints::to_usize(CHUNK)]);
    for copy in 1..fats {
        let mut at = 0;
        while at < len {
            let now = ints::to_usize(CHUNK.min(len - at));
            read(volume, &mut ours[..now], start + at)?;
            read(volume, &mut other[..now], start + copy * len + at)?;
            if ours[..now] != other[..now] {
                return Ok(Some("table of clusters"));
            }
            at += ints::to_u64(now);
        }
    }
    Ok(None)
}

fn read<R: ReadAt>(volume: &R, out: &mut [u8], offset: u64) -> Result<(), Error> {
    volume.read_exact_at(out, offset).map_err(|source| Error::Io { offset, source })
}
