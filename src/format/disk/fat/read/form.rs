//! The plain form of a FAT: the one that nixflash makes and Linux keeps, which every reader takes alike.
//!
//! Firmware reads the first copy of the table whatever BPB_ExtFlags says (U-Boot 2025.01 `fs/fat/fat.c`), or refuses the
//! volume (EDK2 `FatPkg/EnhancedFatDxe/Init.c`); the four high bits of an entry are no part of it for Linux, and are one
//! for U-Boot (`get_fatent`). So all of these are as they were made.

use super::boot;
use super::error::Error;
use crate::format::disk::fat::ondisk::boot_sector::{
    BPB_EXT_FLAGS, BPB_NUM_FATS, BPB_RSVD_SEC_CNT, FatType, LEN, SIGNATURE_WORD, Tail,
};
use crate::ints;
use crate::stream::ReadAt;

/// Bytes read at a time.
const CHUNK: u64 = 64 << 10;
/// The reserved sectors of a FAT32 that hold something: boot sector, FSInfo, and the copies of both.
const IN_USE: [usize; 4] = [0, 1, 6, 7];
/// The four high bits of an entry of a FAT32, by its last byte.
const HIGH_BITS: u8 = 0xf0;

/// What is not plain, in words; empty for what nixflash made and Linux has used since.
pub fn oddities<R: ReadAt>(volume: &R) -> Result<Vec<String>, Error> {
    let boot = boot::read(volume)?;
    let mut odd = Vec::new();
    let mut sector = [0; LEN];
    read(volume, &mut sector, 0)?;
    let is_32 = boot.fat_type == FatType::Fat32;
    // Behind three bytes that halt.
    let halt = Tail::of(boot.fat_type).boot_code;
    if sector[halt.0 + halt.len()..SIGNATURE_WORD.0].iter().any(|byte| *byte != 0) {
        odd.push("there is a program in its boot sector".to_owned());
    }
    let copies = BPB_NUM_FATS.get(&sector);
    if copies != 2 {
        odd.push(format!("it has {copies} copies of its table of clusters, expected 2"));
    }
    let flags = BPB_EXT_FLAGS.get(&sector);
    if is_32 && flags != 0 {
        odd.push(format!(
            "BPB_ExtFlags is {flags:#x}, expected 0: firmware reads another copy of the table, or none"
        ));
    }
    if boot.sector_bytes == ints::to_u64(LEN) {
        let reserved = u64::from(BPB_RSVD_SEC_CNT.get(&sector));
        for at in (1..reserved).filter(|at| !is_32 || !IN_USE.contains(&ints::to_usize(*at))) {
            read(volume, &mut sector, at * boot.sector_bytes)?;
            if sector.iter().any(|byte| *byte != 0) {
                odd.push(format!("something was written into its reserved sector {at}"));
            }
        }
    }
    if is_32 && has_high_bits(volume, &boot)? {
        odd.push("entries of its table of clusters have bits that only some readers take".to_owned());
    }
    Ok(odd)
}

fn has_high_bits<R: ReadAt>(volume: &R, boot: &boot::Boot) -> Result<bool, Error> {
    let (start, len) = (boot.fat_start * boot.sector_bytes, boot.fat * boot.sector_bytes);
    let mut buffer = vec![0; ints::to_usize(CHUNK)];
    let mut at = 0;
    while at < len {
        let now = ints::to_usize(CHUNK.min(len - at));
        read(volume, &mut buffer[..now], start + at)?;
        if buffer[..now].chunks_exact(4).any(|entry| entry[3] & HIGH_BITS != 0) {
            return Ok(true);
        }
        at += ints::to_u64(now);
    }
    Ok(false)
}

fn read<R: ReadAt>(volume: &R, out: &mut [u8], offset: u64) -> Result<(), Error> {
    volume.read_exact_at(out, offset).map_err(|source| Error::Io { offset, source })
}
