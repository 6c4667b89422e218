//! The boot sector, checked so that no later calculation can overflow. Offsets are in the table of `geometry`.

use super::{Error, MAX_FAT};
use crate::format::disk::fat::ondisk::slot::SLOT;
use crate::format::disk::fat::write::options::FatType;
use crate::num;
use crate::stream::ReadAt;

/// What the boot sector says, in sectors where nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    pub fat_type: FatType,
    pub sector_bytes: u64,
    pub per_cluster: u64,
    pub sectors: u64,
    /// The FAT that counts: the first, unless mirroring is off.
    pub fat_start: u64,
    /// Of one copy.
    pub fat: u64,
    /// The root of a FAT16: its first sector and how many; 0 for FAT32.
    pub root_start: u64,
    pub root: u64,
    pub data_start: u64,
    pub clusters: u32,
    /// The first cluster of the root of a FAT32; 0 for FAT16.
    pub root_cluster: u32,
    pub volume_id: u32,
    pub label: String,
}

impl Boot {
    /// Bytes of a cluster.
    pub const fn cluster_bytes(&self) -> u64 {
        self.sector_bytes * self.per_cluster
    }

    /// Where a cluster begins, in bytes; the caller has checked its number.
    pub fn cluster_offset(&self, cluster: u32) -> u64 {
        (self.data_start + u64::from(cluster.saturating_sub(2)) * self.per_cluster) * self.sector_bytes
    }
}

/// A boot sector, by little-endian fields.
struct Fields<'a>(&'a [u8; 512]);

impl Fields<'_> {
    fn u8(&self, at: usize) -> u64 {
        u64::from(self.0[at])
    }

    fn u16(&self, at: usize) -> u64 {
        u64::from(u16::from_le_bytes([self.0[at], self.0[at + 1]]))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }
}

/// Fails with the field unless `holds`.
fn demand(field: &'static str, found: u64, holds: bool, expected: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Boot { field, found, expected }) }
}

/// Reads and checks the boot sector, and FSInfo where there is one.
pub(crate) fn read<R: ReadAt>(volume: &R) -> Result<Boot, Error> {
    let mut sector = [0; 512];
    let size = volume.size();
    demand("its length in bytes", size, size >= 512, "at least 512")?;
    volume.read_exact_at(&mut sector, 0).map_err(|source| Error::Io { offset: 0, source })?;
    let (boot, fs_info) = parse(&sector)?;
    let claimed = boot.sectors * boot.sector_bytes;
    if claimed > size {
        return Err(Error::Short { claimed, found: size });
    }
    if let Some(at) = fs_info {
        let offset = at * boot.sector_bytes;
        volume.read_exact_at(&mut sector, offset).map_err(|source| Error::Io { offset, source })?;
        let fields = Fields(&sector);
        for (field, at, expected) in [
            ("FSI_LeadSig", 0, 0x4161_5252),
            ("FSI_StrucSig", 0x1e4, 0x6141_7272),
            ("FSI_TrailSig", 0x1fc, 0xaa55_0000),
        ] {
            let found = fields.u32(at);
            demand(field, found.into(), found == expected, "the signature of FSInfo")?;
        }
    }
    Ok(boot)
}

/// Checks the boot sector by itself; the second value is the sector of FSInfo.
fn parse(sector: &[u8; 512]) -> Result<(Boot, Option<u64>), Error> {
    let fields = Fields(sector);
    demand("Signature_word", fields.u16(0x1fe), fields.u16(0x1fe) == 0xaa55, "0xaa55")?;
    let sector_bytes = fields.u16(0x00b);
    demand(
        "BPB_BytsPerSec",
        sector_bytes,
        [512, 1024, 2048, 4096].contains(&sector_bytes),
        "512, 1024, 2048 or 4096",
    )?;
    let per_cluster = fields.u8(0x00d);
    demand("BPB_SecPerClus", per_cluster, per_cluster.is_power_of_two(), "a power of two")?;
    let reserved = fields.u16(0x00e);
    demand("BPB_RsvdSecCnt", reserved, reserved > 0, "at least 1")?;
    let fats = fields.u8(0x010);
    demand("BPB_NumFATs", fats, (1..=2).contains(&fats), "1 or 2")?;
    let media = fields.u8(0x015);
    demand("BPB_Media", media, media == 0xf0 || media >= 0xf8, "0xf0 or 0xf8 to 0xff")?;

    let (short, long) = (fields.u16(0x013), u64::from(fields.u32(0x020)));
    demand("BPB_TotSec32", long, (short == 0) != (long == 0), "0 if and only if BPB_TotSec16 is not")?;
    let sectors = short.max(long);
    let has_32 = fields.u16(0x016) == 0;
    let fat = if has_32 { u64::from(fields.u32(0x024)) } else { fields.u16(0x016) };
    demand("BPB_FATSz32", fat, fat > 0 && fat * sector_bytes <= MAX_FAT, "1 to 512 MiB")?;
    demand("BPB_TotSec16", short, short == 0 || !has_32, "0 in a FAT32")?;

    let root_slots = fields.u16(0x011);
    let root_ok = (root_slots == 0) == has_32 && (root_slots * SLOT).is_multiple_of(sector_bytes);
    demand("BPB_RootEntCnt", root_slots, root_ok, "0 in a FAT32, else whole sectors of 32-byte slots")?;
    let root = root_slots * SLOT / sector_bytes;
    let root_start = reserved + fats * fat;
    let data_start = root_start + root;
    let data = sectors.saturating_sub(data_start);
    demand("BPB_TotSec32", sectors, data >= per_cluster, "more than FATs and root take")?;
    let clusters = data / per_cluster;
    let fat_type = if has_32 { FatType::Fat32 } else { FatType::Fat16 };
    let (legal, entry_bytes) = if has_32 { (65_525..=0x0fff_fff4, 4) } else { (4085..=65_524, 2) };
    demand(
        "the number of clusters",
        clusters,
        legal.contains(&clusters),
        "4085 to 65524 in a FAT16, more in a FAT32",
    )?;
    let mapped = fat * sector_bytes / entry_bytes;
    demand(
        "the number of clusters",
        clusters,
        clusters + 2 <= mapped,
        "no more than the FAT has entries for",
    )?;
    let mut boot = Boot {
        fat_type,
        sector_bytes,
        per_cluster,
        sectors,
        fat_start: reserved,
        fat,
        root_start,
        root,
        data_start,
        // cannot fail: below 2^28, checked above
        clusters: u32::try_from(clusters).unwrap_or(0),
        root_cluster: 0,
        volume_id: 0,
        label: String::new(),
    };
    let fs_info = if has_32 { Some(parse_fat32(&fields, reserved, fats, &mut boot)?) } else { None };
    let tail = if has_32 { 0x040 } else { 0x024 };
    if fields.u8(tail + 2) == 0x29 {
        boot.volume_id = fields.u32(tail + 3);
        let label = super::check::label_text(&sector[tail + 7..tail + 18]);
        boot.label = if label == "NO NAME" { String::new() } else { label };
    }
    Ok((boot, fs_info))
}

/// Checks what only a FAT32 has; gives the sector of FSInfo.
fn parse_fat32(fields: &Fields<'_>, reserved: u64, fats: u64, boot: &mut Boot) -> Result<u64, Error> {
    let version = fields.u16(0x02a);
    demand("BPB_FSVer", version, version == 0, "0")?;
    let flags = fields.u16(0x028);
    let active = if flags & 0x80 == 0 { 0 } else { flags & 0x0f };
    demand("BPB_ExtFlags", flags, active < fats, "an active FAT that is there")?;
    boot.fat_start = reserved + active * boot.fat;
    let root_cluster = fields.u32(0x02c);
    let in_range = (2..u64::from(boot.clusters) + 2).contains(&u64::from(root_cluster));
    demand("BPB_RootClus", root_cluster.into(), in_range, "a cluster of the volume")?;
    boot.root_cluster = root_cluster;
    let backup = fields.u16(0x032);
    demand("BPB_BkBootSec", backup, backup < reserved, "a reserved sector")?;
    let fs_info = fields.u16(0x030);
    demand("BPB_FSInfo", fs_info, (1..reserved).contains(&fs_info), "a reserved sector after the first")?;
    Ok(fs_info)
}

/// Bytes that the check reads of a FAT at once when it counts free clusters.
pub(crate) const SCAN: usize = num::to_usize(1 << 16);
