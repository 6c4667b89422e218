//! What is on a disk, in one line, for whoever is asked whether it may be lost.

use super::signatures::member;
use crate::device::write::marker;
use crate::format::disk::ext4::ondisk::superblock;
use crate::format::disk::fat::ondisk::boot_sector::{self, FatType, Tail};
use crate::format::disk::partition_table::{Table, read};
use crate::ints;
use crate::sizes::show_bytes;
use crate::stream::{ReadAt, Window};

/// The most partitions that are described.
const SHOWN: usize = 4;

/// Says what is on a disk: its table, the file systems on its partitions, their labels. `None` when it cannot be read.
#[must_use]
pub fn describe(disk: &dyn ReadAt) -> Option<String> {
    let mut start = vec![0; 512];
    disk.read_exact_at(&mut start, 0).ok()?;
    if marker::is_unfinished(&start) {
        return Some("an unfinished write of nixflash".to_owned());
    }
    let reading = read(disk).ok()?;
    let sector = reading.sector.bytes();
    let (kind, places): (_, Vec<(u64, u64)>) = match &reading.table {
        Some(Table::Gpt(gpt)) => ("GPT", gpt.partitions.iter().map(|p| (p.start, p.sectors)).collect()),
        Some(Table::Mbr(mbr)) => ("MBR", mbr.partitions.iter().map(|p| (p.start, p.sectors)).collect()),
        None => return Some(file_system(disk).unwrap_or_else(|| "no partition table".to_owned())),
    };
    let mut shown: Vec<_> = places.iter().take(SHOWN).map(|place| partition(disk, *place, sector)).collect();
    if places.len() > SHOWN {
        shown.push(format!("{} more", places.len() - SHOWN));
    }
    Some(if shown.is_empty() { format!("an empty {kind}") } else { format!("{kind}: {}", shown.join(", ")) })
}

fn partition(disk: &dyn ReadAt, (start, sectors): (u64, u64), sector: u64) -> String {
    let (offset, len) = (start.saturating_mul(sector), sectors.saturating_mul(sector));
    let inside = Window::new(disk, offset, len);
    let what = file_system(&inside).unwrap_or_else(|| "unknown".to_owned());
    format!("{what} {}", show_bytes(len))
}

/// The type and label of a file system.
fn file_system(disk: &dyn ReadAt) -> Option<String> {
    if let Some(member) = member(disk).ok()? {
        return Some(member.to_string());
    }
    let mut start = vec![0; ints::to_usize(disk.size().min(4096))];
    disk.read_exact_at(&mut start, 0).ok()?;
    let superblock = start.get(ints::to_usize(superblock::OFFSET)..).unwrap_or_default();
    let is_boot = boot_sector::SIGNATURE_WORD.get(&start) == boot_sector::SIGNATURE;
    let is_fat = |fat_type, word: &[u8]| Tail::of(fat_type).fil_sys_type.get(&start).starts_with(word);
    let fat_type = match (is_fat(FatType::Fat32, b"FAT32"), is_fat(FatType::Fat16, b"FAT")) {
        (true, _) if is_boot => Some(FatType::Fat32),
        (_, true) if is_boot => Some(FatType::Fat16),
        _ => None,
    };
    let (kind, label) = if superblock::S_MAGIC.get(superblock) == superblock::MAGIC {
        ("ext4", superblock::S_VOLUME_NAME.get(superblock).to_vec())
    } else if let Some(fat_type) = fat_type {
        ("FAT", Tail::of(fat_type).vol_lab.get(&start).to_vec())
    } else {
        match &boot_sector::BS_OEM_NAME.get(&start) {
            b"NTFS    " => ("NTFS", Vec::new()),
            b"EXFAT   " => ("exFAT", Vec::new()),
            _ => return None,
        }
    };
    let label = String::from_utf8_lossy(label.split(|byte| *byte == 0).next().unwrap_or_default());
    let label = label.trim_end();
    Some(if label.is_empty() { kind.to_owned() } else { format!("{kind} {label:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::disk::partition_table::{Mbr, MbrPartition, SectorSize, encode};

    #[test]
    fn a_card_is_told_in_a_line() {
        let mut disk = vec![0; 4 << 20];
        assert_eq!(describe(&&disk[..]).unwrap(), "no partition table");
        let partition =
            |number, start| MbrPartition { number, start, sectors: 2048, kind: 0x83, active: false };
        let mbr = Mbr { disk_id: 1, partitions: vec![partition(1, 2048), partition(2, 4096)] };
        for (offset, bytes) in encode(&Table::Mbr(mbr), 4 << 20, SectorSize::S512).unwrap() {
            disk[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        let at = (1 << 20) + 1024;
        disk[at + 56..at + 58].copy_from_slice(&[0x53, 0xef]);
        disk[at + 120..at + 128].copy_from_slice(b"NIXOS_SD");
        assert_eq!(describe(&&disk[..]).unwrap(), "MBR: ext4 \"NIXOS_SD\" 1 MiB, unknown 1 MiB");
        marker::fill(&mut disk[..512], 0, 0);
        assert_eq!(describe(&&disk[..]).unwrap(), "an unfinished write of nixflash");
        assert_eq!(describe(&&[0; 100][..]), None);
    }
}
