//! Where everything in a volume is, and the sectors that say so.

use super::error::Error;
use super::options::{Kind, Options};
use crate::format::disk::fat::ondisk::boot_sector::{
    self, FAT16_MIN_CLUSTERS, FAT32_MAX_CLUSTERS, FAT32_MIN_CLUSTERS, FIRST_CLUSTER, FatType, Tail,
};
use crate::format::disk::fat::ondisk::slot::{SECTOR, SLOT};
use crate::ints;

/// Copies of the FAT.
pub(crate) const FATS: u64 = 2;
/// Slots of the root of FAT16: every reader expects this number.
const ROOT_SLOTS: u64 = 512;
/// From this size on, `mkfs.fat` makes a FAT32.
const AUTO_FAT32: u64 = 512 << 20;
/// The type is decided by the number of clusters alone, and readers disagree by a few about where: fatgen103 tells
/// makers of volumes to stay at least 16 away.
const FAT16_CLUSTERS: std::ops::RangeInclusive<u64> = FAT16_MIN_CLUSTERS + 16..=FAT32_MIN_CLUSTERS - 1 - 16;
const FAT32_CLUSTERS: std::ops::RangeInclusive<u64> = FAT32_MIN_CLUSTERS + 16..=FAT32_MAX_CLUSTERS - 16;
/// Sectors per cluster of a FAT16, in the order in which they are tried.
const FAT16_TRIES: &[u64] = &[4, 8, 16, 32, 64, 2, 1];
/// Sectors before the first FAT, at least.
const FAT16_RESERVED: u64 = 1;
const FAT32_RESERVED: u64 = 32;
/// The sector of FSInfo, of the copy of the boot sector, of the copy of FSInfo (FAT32).
const FSINFO_SECTOR: usize = 1;
const BACKUP_SECTOR: usize = 6;
/// A fixed disk.
pub(crate) const MEDIA: u8 = 0xf8;
/// The number that a PC's firmware gives the first hard disk.
const FIRST_HARD_DISK: u8 = 0x80;
/// `jmp` over the parameters, to the three bytes below.
const JUMP_FAT16: [u8; 3] = [0xeb, 0x3c, 0x90];
const JUMP_FAT32: [u8; 3] = [0xeb, 0x58, 0x90];
/// `hlt`, and again: a PC that is told to start from here stops rather than runs into zeros.
const HALT: [u8; 3] = [0xf4, 0xeb, 0xfd];

/// Heads and sectors per track by size in MiB, as the SD card association lays them down (SD Specifications part 2,
/// annex C); nothing that boots from a card reads them, but `mtools` and Windows want to see something.
const TRACKS: &[(u64, u16, u16)] = &[
    (16, 2, 32),
    (32, 4, 32),
    (128, 8, 32),
    (256, 16, 32),
    (504, 16, 63),
    (1008, 32, 63),
    (2016, 64, 63),
    (4032, 128, 63),
    (u64::MAX, 255, 63),
];

/// The measures of a volume, in sectors where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub fat_type: FatType,
    pub sectors: u64,
    pub per_cluster: u64,
    pub reserved: u64,
    /// Of one copy.
    pub fat: u64,
    /// Of the root of a FAT16; 0 for FAT32, where the root has clusters.
    pub root: u64,
    pub clusters: u64,
}

impl Geometry {
    /// Chooses the measures as `mkfs.fat` does.
    pub fn choose(size: u64, kind: Kind) -> Result<Self, Error> {
        if !size.is_multiple_of(SECTOR) {
            return Err(Error::Unaligned(size));
        }
        let fat_type = match kind {
            Kind::Fat16 => FatType::Fat16,
            Kind::Auto if size < AUTO_FAT32 => FatType::Fat16,
            Kind::Auto | Kind::Fat32 => FatType::Fat32,
        };
        let sectors = size / SECTOR;
        let (tries, legal) = match fat_type {
            FatType::Fat16 => (FAT16_TRIES, FAT16_CLUSTERS),
            FatType::Fat32 => (fat32_tries(size >> 20), FAT32_CLUSTERS),
        };
        let geometry = tries.iter().find_map(|per_cluster| Self::lay_out(fat_type, sectors, *per_cluster));
        let found =
            geometry.filter(|geometry| legal.contains(&geometry.clusters) && u32::try_from(sectors).is_ok());
        found.ok_or(Error::Size { size, fat: fat_type })
    }

    /// The measures for one cluster size, `None` when the number of clusters is not legal.
    fn lay_out(fat_type: FatType, sectors: u64, per_cluster: u64) -> Option<Self> {
        let (least_reserved, root, entry, legal) = match fat_type {
            FatType::Fat16 => (FAT16_RESERVED, ROOT_SLOTS * SLOT / SECTOR, 2, FAT16_CLUSTERS),
            FatType::Fat32 => (FAT32_RESERVED, 0, 4, FAT32_CLUSTERS),
        };
        // Of the sectors that FATs and clusters share, a FAT needs the part that maps the rest.
        let shared = sectors.checked_sub(least_reserved + root)?;
        let fat = ((shared + 2 * per_cluster) * entry).div_ceil(per_cluster * SECTOR + FATS * entry);
        // Clusters begin at a multiple of their size, so that each is within one erase block of a card.
        let reserved = (least_reserved + FATS * fat + root).next_multiple_of(per_cluster) - FATS * fat - root;
        let clusters = sectors.checked_sub(reserved + FATS * fat + root)? / per_cluster;
        legal.contains(&clusters).then_some(Self {
            fat_type,
            sectors,
            per_cluster,
            reserved,
            fat,
            root,
            clusters,
        })
    }

    /// Bytes of a cluster.
    pub const fn cluster_bytes(&self) -> u64 {
        self.per_cluster * SECTOR
    }

    /// Bytes of an entry of the FAT.
    pub const fn entry_bytes(&self) -> u64 {
        self.fat_type.entry_bytes()
    }

    /// Where a copy of the FAT begins, in bytes.
    pub const fn fat_offset(&self, copy: u64) -> u64 {
        (self.reserved + copy * self.fat) * SECTOR
    }

    /// Where the root of a FAT16 begins, in bytes; the end of the FATs for FAT32.
    pub const fn root_offset(&self) -> u64 {
        self.fat_offset(FATS)
    }

    /// Where a cluster begins, in bytes.
    pub const fn cluster_offset(&self, cluster: u64) -> u64 {
        self.root_offset() + self.root * SECTOR + (cluster - 2) * self.cluster_bytes()
    }

    /// Renders the reserved sectors; `used` clusters, from the first on, hold something.
    pub fn encode_reserved(&self, options: &Options, used: u64, out: &mut [u8]) {
        out.fill(0);
        let boot = self.boot_sector(options);
        let mut sectors = out.chunks_exact_mut(boot.len());
        let mut put = |at: usize, from: &[u8; 512], done: usize| {
            if let Some(sector) = sectors.nth(at - done) {
                sector.copy_from_slice(from);
            }
        };
        put(0, &boot, 0);
        if self.fat_type == FatType::Fat32 {
            let info = self.fs_info(used);
            put(FSINFO_SECTOR, &info, 1);
            put(BACKUP_SECTOR, &boot, FSINFO_SECTOR + 1);
            put(BACKUP_SECTOR + FSINFO_SECTOR, &info, BACKUP_SECTOR + 1);
        }
    }

    fn boot_sector(&self, options: &Options) -> [u8; 512] {
        let mut out = [0; boot_sector::LEN];
        let b = &mut out;
        let (heads, per_track) = self.tracks();
        boot_sector::BS_OEM_NAME.put(b, b"NIXFLASH");
        boot_sector::BPB_BYTS_PER_SEC.put_low(b, SECTOR);
        boot_sector::BPB_SEC_PER_CLUS.put(b, low8(self.per_cluster));
        boot_sector::BPB_RSVD_SEC_CNT.put_low(b, self.reserved);
        boot_sector::BPB_NUM_FATS.put(b, low8(FATS));
        boot_sector::BPB_ROOT_ENT_CNT.put_low(b, self.root * SECTOR / SLOT);
        boot_sector::BPB_MEDIA.put(b, MEDIA);
        boot_sector::BPB_SEC_PER_TRK.put(b, per_track);
        boot_sector::BPB_NUM_HEADS.put(b, heads);
        boot_sector::BPB_HIDD_SEC.put(b, options.hidden_sectors);
        if self.fat_type == FatType::Fat16 && self.sectors <= 0xffff {
            boot_sector::BPB_TOT_SEC16.put_low(b, self.sectors);
        } else {
            boot_sector::BPB_TOT_SEC32.put_low(b, self.sectors);
        }
        let tail = Tail::of(self.fat_type);
        match self.fat_type {
            FatType::Fat16 => {
                boot_sector::BS_JMP_BOOT.put(b, &JUMP_FAT16);
                boot_sector::BPB_FATSZ16.put_low(b, self.fat);
                tail.fil_sys_type.put(b, b"FAT16   ");
            }
            FatType::Fat32 => {
                boot_sector::BS_JMP_BOOT.put(b, &JUMP_FAT32);
                boot_sector::BPB_FATSZ32.put_low(b, self.fat);
                boot_sector::BPB_ROOT_CLUS.put(b, FIRST_CLUSTER);
                boot_sector::BPB_FS_INFO.put_low(b, ints::to_u64(FSINFO_SECTOR));
                boot_sector::BPB_BK_BOOT_SEC.put_low(b, ints::to_u64(BACKUP_SECTOR));
                tail.fil_sys_type.put(b, b"FAT32   ");
            }
        }
        tail.boot_code.put(b, &HALT);
        tail.drv_num.put(b, FIRST_HARD_DISK);
        tail.boot_sig.put(b, boot_sector::EXTENDED_BOOT_SIGNATURE);
        tail.vol_id.put(b, options.volume_id);
        tail.vol_lab.put(b, options.label.field());
        boot_sector::SIGNATURE_WORD.put(b, boot_sector::SIGNATURE);
        out
    }

    fn fs_info(&self, used: u64) -> [u8; 512] {
        let mut out = [0; boot_sector::LEN];
        let b = &mut out;
        boot_sector::FSI_LEAD_SIG.put(b, boot_sector::LEAD_SIG);
        boot_sector::FSI_STRUC_SIG.put(b, boot_sector::STRUC_SIG);
        boot_sector::FSI_FREE_COUNT.put_low(b, self.clusters - used);
        let next = if used < self.clusters { u64::from(FIRST_CLUSTER) + used } else { u64::MAX };
        boot_sector::FSI_NXT_FREE.put_low(b, next);
        boot_sector::FSI_TRAIL_SIG.put(b, boot_sector::TRAIL_SIG);
        out
    }

    fn tracks(&self) -> (u16, u16) {
        let size = (self.sectors * SECTOR).div_ceil(1 << 20);
        let row = TRACKS.iter().find(|(most, ..)| size <= *most);
        row.map_or((255, 63), |(_, heads, per_track)| (*heads, *per_track))
    }
}

/// Sectors per cluster of a FAT32 of so many MiB, in the order in which they are tried.
const fn fat32_tries(size: u64) -> &'static [u64] {
    match size {
        0..260 => &[1],
        260..=8192 => &[8],
        8193..=16_384 => &[16],
        16_385..=32_768 => &[32],
        _ => &[64],
    }
}

/// A number that the measures keep below 256.
fn low8(n: u64) -> u8 {
    n.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn measures_are_those_of_mkfs_fat() {
        // `mkfs.fat` 4.2 and `minfo` on volumes of that many MiB; 30 MiB is the FIRMWARE of nixpkgs' sd-image.
        for (mib, fat_type, per_cluster, reserved) in [
            (16, FatType::Fat16, 4, 4),
            (30, FatType::Fat16, 4, 4),
            (64, FatType::Fat16, 4, 4),
            (128, FatType::Fat16, 4, 4),
            (129, FatType::Fat16, 8, 8),
            (256, FatType::Fat16, 8, 8),
            (300, FatType::Fat16, 16, 16),
            (511, FatType::Fat16, 16, 16),
            (512, FatType::Fat32, 8, 32),
            (1024, FatType::Fat32, 8, 32),
            (2150, FatType::Fat32, 8, 32),
            (8200, FatType::Fat32, 16, 32),
            (16_500, FatType::Fat32, 32, 32),
            (33_000, FatType::Fat32, 64, 64),
        ] {
            let found = Geometry::choose(mib * MIB, Kind::Auto).unwrap();
            assert_eq!((found.fat_type, found.per_cluster), (fat_type, per_cluster), "{mib} MiB");
            assert!(found.reserved.abs_diff(reserved) < found.per_cluster, "{mib} MiB: {found:?}");
        }
        let firmware = Geometry::choose(30 * MIB, Kind::Auto).unwrap();
        assert_eq!((firmware.fat, firmware.root, firmware.clusters), (60, 32, 15_321));
    }

    #[test]
    fn every_size_has_a_legal_layout_or_an_error() {
        let mut last = 0;
        for step in 0..4000 {
            // Around each power of two, and in between.
            let size = SECTOR * ((1u64 << (step / 100)) + (step % 100) * (1 << (step / 100)) / 100);
            for (kind, legal) in [(Kind::Fat16, FAT16_CLUSTERS), (Kind::Fat32, FAT32_CLUSTERS)] {
                let Ok(found) = Geometry::choose(size, kind) else { continue };
                assert!(legal.contains(&found.clusters), "{found:?}");
                assert!((found.clusters + 2) * found.entry_bytes() <= found.fat * SECTOR, "{found:?}");
                assert!(found.cluster_offset(2 + found.clusters) <= size, "{found:?}");
                assert!(found.cluster_offset(2).is_multiple_of(found.cluster_bytes()), "{found:?}");
                assert!(found.reserved <= 0xffff);
                last = last.max(size);
            }
        }
        assert!(last > 1 << 40, "{last}");
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert_eq!(Geometry::choose(1000, Kind::Auto), Err(Error::Unaligned(1000)));
        for (size, kind, fat) in [
            (0, Kind::Auto, FatType::Fat16),
            (2 * MIB, Kind::Auto, FatType::Fat16),
            (30 * MIB, Kind::Fat32, FatType::Fat32),
            (2049 * MIB, Kind::Fat16, FatType::Fat16),
            (1 << 41, Kind::Auto, FatType::Fat32),
            (u64::MAX / 512 * 512, Kind::Auto, FatType::Fat32),
        ] {
            assert_eq!(Geometry::choose(size, kind), Err(Error::Size { size, fat }));
        }
    }
}
