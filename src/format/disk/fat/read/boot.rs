//! The boot sector, checked so that no later calculation can overflow.

use super::error::Error;
use super::long_name::label_text;
use crate::format::disk::fat::ondisk::boot_sector::{
    self as ondisk, EXT_FLAGS_ACTIVE, EXT_FLAGS_ONE, FAT16_MIN_CLUSTERS, FAT32_MAX_CLUSTERS,
    FAT32_MIN_CLUSTERS, FIRST_CLUSTER, FatType, Tail,
};
use crate::format::disk::fat::ondisk::slot::SLOT;
use crate::stream::ReadAt;

/// The longest FAT that is read, in bytes: `fatfs` counts its bits in 32 bits.
const MAX_FAT: u64 = (1 << 29) - 1;

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
        (self.data_start + u64::from(cluster.saturating_sub(FIRST_CLUSTER)) * self.per_cluster)
            * self.sector_bytes
    }
}

/// Fails with the field unless `holds`.
fn demand(field: &'static str, found: u64, holds: bool, expected: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Boot { field, found, expected }) }
}

/// Reads and checks the boot sector, and FSInfo where there is one.
pub(crate) fn read<R: ReadAt>(volume: &R) -> Result<Boot, Error> {
    let mut sector = [0; ondisk::LEN];
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
        for (name, field, expected) in [
            ("FSI_LeadSig", ondisk::FSI_LEAD_SIG, ondisk::LEAD_SIG),
            ("FSI_StrucSig", ondisk::FSI_STRUC_SIG, ondisk::STRUC_SIG),
            ("FSI_TrailSig", ondisk::FSI_TRAIL_SIG, ondisk::TRAIL_SIG),
        ] {
            let found = field.get(&sector);
            demand(name, found.into(), found == expected, "the signature of FSInfo")?;
        }
    }
    Ok(boot)
}

/// Checks the boot sector by itself; the second value is the sector of FSInfo.
fn parse(sector: &[u8]) -> Result<(Boot, Option<u64>), Error> {
    let signature = ondisk::SIGNATURE_WORD.get(sector);
    demand("Signature_word", signature.into(), signature == ondisk::SIGNATURE, "0xaa55")?;
    let sector_bytes = u64::from(ondisk::BPB_BYTS_PER_SEC.get(sector));
    let is_size = ondisk::SECTOR_SIZES.contains(&sector_bytes);
    demand("BPB_BytsPerSec", sector_bytes, is_size, "512, 1024, 2048 or 4096")?;
    let per_cluster = u64::from(ondisk::BPB_SEC_PER_CLUS.get(sector));
    demand("BPB_SecPerClus", per_cluster, per_cluster.is_power_of_two(), "a power of two")?;
    let reserved = u64::from(ondisk::BPB_RSVD_SEC_CNT.get(sector));
    demand("BPB_RsvdSecCnt", reserved, reserved > 0, "at least 1")?;
    let fats = u64::from(ondisk::BPB_NUM_FATS.get(sector));
    demand("BPB_NumFATs", fats, (1..=2).contains(&fats), "1 or 2")?;
    let media = ondisk::BPB_MEDIA.get(sector);
    demand("BPB_Media", media.into(), media == 0xf0 || media >= 0xf8, "0xf0 or 0xf8 to 0xff")?;
    let (sectors, fat) = sizes(sector, sector_bytes)?;
    let fat_type = if ondisk::BPB_FATSZ16.get(sector) == 0 { FatType::Fat32 } else { FatType::Fat16 };
    let has_32 = fat_type == FatType::Fat32;

    let root_slots = u64::from(ondisk::BPB_ROOT_ENT_CNT.get(sector));
    let root_ok = (root_slots == 0) == has_32 && (root_slots * SLOT).is_multiple_of(sector_bytes);
    demand("BPB_RootEntCnt", root_slots, root_ok, "0 in a FAT32, else whole sectors of 32-byte slots")?;
    let root = root_slots * SLOT / sector_bytes;
    let root_start = reserved + fats * fat;
    let data_start = root_start + root;
    let data = sectors.saturating_sub(data_start);
    demand("BPB_TotSec32", sectors, data >= per_cluster, "more than FATs and root take")?;
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
        clusters: clusters(fat_type, data / per_cluster, fat * sector_bytes)?,
        root_cluster: 0,
        volume_id: 0,
        label: String::new(),
    };
    let fs_info = if has_32 { Some(parse_fat32(sector, reserved, fats, &mut boot)?) } else { None };
    let tail = Tail::of(fat_type);
    if tail.boot_sig.get(sector) == ondisk::EXTENDED_BOOT_SIGNATURE {
        boot.volume_id = tail.vol_id.get(sector);
        let label = label_text(&tail.vol_lab.get(sector));
        boot.label = if label == "NO NAME" { String::new() } else { label };
    }
    Ok((boot, fs_info))
}

/// The sectors of the volume and of one FAT.
fn sizes(sector: &[u8], sector_bytes: u64) -> Result<(u64, u64), Error> {
    let short = u64::from(ondisk::BPB_TOT_SEC16.get(sector));
    let long = u64::from(ondisk::BPB_TOT_SEC32.get(sector));
    demand("BPB_TotSec32", long, (short == 0) != (long == 0), "0 if and only if BPB_TotSec16 is not")?;
    let of_16 = u64::from(ondisk::BPB_FATSZ16.get(sector));
    let has_32 = of_16 == 0;
    let fat = if has_32 { ondisk::BPB_FATSZ32.get(sector).into() } else { of_16 };
    demand("BPB_FATSz32", fat, fat > 0 && fat * sector_bytes <= MAX_FAT, "1 to 512 MiB")?;
    demand("BPB_TotSec16", short, short == 0 || !has_32, "0 in a FAT32")?;
    Ok((short.max(long), fat))
}

/// The number of clusters, checked against the type and the length of a FAT in bytes.
fn clusters(fat_type: FatType, clusters: u64, fat_bytes: u64) -> Result<u32, Error> {
    const WHAT: &str = "the number of clusters";
    let legal = match fat_type {
        FatType::Fat16 => FAT16_MIN_CLUSTERS..=FAT32_MIN_CLUSTERS - 1,
        FatType::Fat32 => FAT32_MIN_CLUSTERS..=FAT32_MAX_CLUSTERS,
    };
    demand(WHAT, clusters, legal.contains(&clusters), "4085 to 65524 in a FAT16, more in a FAT32")?;
    let mapped = fat_bytes / fat_type.entry_bytes();
    let fits = clusters + u64::from(FIRST_CLUSTER) <= mapped;
    demand(WHAT, clusters, fits, "no more than the FAT has entries for")?;
    // cannot fail: below 2^28, checked above
    Ok(u32::try_from(clusters).unwrap_or(0))
}

/// Checks what only a FAT32 has; gives the sector of FSInfo.
fn parse_fat32(sector: &[u8], reserved: u64, fats: u64, boot: &mut Boot) -> Result<u64, Error> {
    let version = ondisk::BPB_FS_VER.get(sector);
    demand("BPB_FSVer", version.into(), version == 0, "0")?;
    let flags = ondisk::BPB_EXT_FLAGS.get(sector);
    let active = if flags & EXT_FLAGS_ONE == 0 { 0 } else { u64::from(flags & EXT_FLAGS_ACTIVE) };
    demand("BPB_ExtFlags", flags.into(), active < fats, "an active FAT that is there")?;
    boot.fat_start = reserved + active * boot.fat;
    let root_cluster = ondisk::BPB_ROOT_CLUS.get(sector);
    let in_range = (FIRST_CLUSTER..boot.clusters + FIRST_CLUSTER).contains(&root_cluster);
    demand("BPB_RootClus", root_cluster.into(), in_range, "a cluster of the volume")?;
    boot.root_cluster = root_cluster;
    let backup = u64::from(ondisk::BPB_BK_BOOT_SEC.get(sector));
    demand("BPB_BkBootSec", backup, backup < reserved, "a reserved sector")?;
    let fs_info = u64::from(ondisk::BPB_FS_INFO.get(sector));
    demand("BPB_FSInfo", fs_info, (1..reserved).contains(&fs_info), "a reserved sector after the first")?;
    Ok(fs_info)
}
