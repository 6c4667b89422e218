//! The allocation table of FAT16 and FAT32.
//!
//! FAT12 is too small to matter.

use super::ondisk::boot_sector::{
    self, FAT16_MIN_CLUSTERS, FAT32_MIN_CLUSTERS, FIRST_CLUSTER, FatType, SECTOR_SIZES, SIGNATURE,
    SIGNATURE_WORD,
};
use super::ondisk::slot::SLOT;
use crate::format::disk::usage::{Run, Usage, Want};
use crate::ints;

/// A table that is taken in, in bytes.
const MAX_TABLE: u64 = 16 << 20;

/// The map of a FAT file system.
pub struct Fat {
    fat_type: FatType,
    table: Want,
    data: u64,
    cluster: u64,
    clusters: u64,
    /// A bit for each cluster from the third entry on: whether it is in use.
    used: Option<Vec<bool>>,
}

impl Fat {
    /// Where the boot sector is.
    pub const BOOT_SECTOR: Want = Want { offset: 0, len: 512 };

    /// Looks at a boot sector. `None` if it is none of FAT16 or FAT32.
    #[must_use]
    pub fn new(boot: &[u8], partition: u64) -> Option<Self> {
        let b = boot.get(..boot_sector::LEN)?;
        let sector = u64::from(boot_sector::BPB_BYTS_PER_SEC.get(b));
        let per_cluster = u64::from(boot_sector::BPB_SEC_PER_CLUS.get(b));
        let fats = u64::from(boot_sector::BPB_NUM_FATS.get(b));
        let sound = SECTOR_SIZES.contains(&sector) && per_cluster.is_power_of_two();
        if SIGNATURE_WORD.get(b) != SIGNATURE || !sound || !(1..=2).contains(&fats) {
            return None;
        }
        let pick = |narrow: u16, wide: u32| if narrow != 0 { u64::from(narrow) } else { u64::from(wide) };
        let reserved = u64::from(boot_sector::BPB_RSVD_SEC_CNT.get(b));
        let total = pick(boot_sector::BPB_TOT_SEC16.get(b), boot_sector::BPB_TOT_SEC32.get(b));
        let table = pick(boot_sector::BPB_FATSZ16.get(b), boot_sector::BPB_FATSZ32.get(b));
        let root = (u64::from(boot_sector::BPB_ROOT_ENT_CNT.get(b)) * SLOT).div_ceil(sector);
        let data = reserved + fats * table + root;
        let clusters = total.checked_sub(data)? / per_cluster;
        let fat_type = if clusters >= FAT32_MIN_CLUSTERS { FatType::Fat32 } else { FatType::Fat16 };
        let bytes = (clusters + u64::from(FIRST_CLUSTER)) * fat_type.entry_bytes();
        let fits = total * sector <= partition && bytes <= table * sector && bytes <= MAX_TABLE;
        (clusters >= FAT16_MIN_CLUSTERS && reserved > 0 && fits).then_some(Self {
            fat_type,
            table: Want { offset: reserved * sector, len: bytes },
            data: data * sector,
            cluster: per_cluster * sector,
            clusters,
            used: None,
        })
    }

    /// Where the table is.
    #[must_use]
    pub const fn table(&self) -> Want {
        self.table
    }

    fn matters(&self, cluster: u64) -> bool {
        self.used.as_ref().and_then(|used| used.get(ints::to_usize(cluster)).copied()).unwrap_or(true)
    }
}

impl Usage for Fat {
    fn take(&mut self, _want: Want, bytes: &[u8]) -> Vec<Want> {
        let entries = bytes.chunks_exact(ints::to_usize(self.fat_type.entry_bytes()));
        let data = entries.skip(ints::to_usize(FIRST_CLUSTER.into()));
        self.used = Some(data.map(|entry| self.fat_type.entry(entry) != 0).collect());
        Vec::new()
    }

    fn run(&self, offset: u64) -> Run {
        let Some(within) = offset.checked_sub(self.data) else {
            return Run { matters: true, end: self.data };
        };
        let cluster = within / self.cluster;
        if cluster >= self.clusters {
            return Run { matters: true, end: u64::MAX };
        }
        let matters = self.matters(cluster);
        let end = (cluster + 1..self.clusters).find(|other| self.matters(*other) != matters);
        Run { matters, end: self.data + end.unwrap_or(self.clusters) * self.cluster }
    }

    fn forget(&mut self, _offset: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    fn boot() -> Vec<u8> {
        let mut b = vec![0; 512];
        b[0x0b..0x18].copy_from_slice(&[0, 2, 4, 4, 0, 2, 0, 2, 0, 0, 0xf8, 64, 0]);
        b[0x20..0x24].copy_from_slice(&60_000u32.to_le_bytes());
        b[510..].copy_from_slice(&[0x55, 0xaa]);
        b
    }

    #[test]
    fn free_clusters_do_not_matter_and_all_before_and_behind_them_does() {
        let mut map = Fat::new(&boot(), 60_000 * 512).unwrap();
        let data = (4 + 128 + 32) * 512;
        assert_eq!(map.run(0), Run { matters: true, end: data });
        assert!(map.run(data).matters, "the table is not known yet");
        let mut table = vec![0; ints::to_usize(map.table().len)];
        table[6] = 1;
        map.take(map.table(), &table);
        assert_eq!(map.run(data), Run { matters: false, end: data + 2048 });
        assert_eq!(map.run(data + 2048), Run { matters: true, end: data + 4096 });
        let end = data + (60_000 - 164) / 4 * 2048;
        assert_eq!(map.run(data + 5000), Run { matters: false, end });
        assert_eq!(map.run(end), Run { matters: true, end: u64::MAX });
        assert!(Fat::new(&boot(), 60_000 * 512 - 1).is_none());
    }

    proptest! {
        #[test]
        fn any_boot_sector_is_taken_without_panic(patches in proptest::collection::vec((0usize..64, any::<u8>()), 0..8), at in any::<u64>()) {
            let mut boot = boot();
            for (at, value) in patches {
                boot[at] = value;
            }
            if let Some(mut map) = Fat::new(&boot, 1 << 40) {
                map.take(map.table(), &vec![1; ints::to_usize(map.table().len)]);
                assert!(map.run(at).end > at || at == u64::MAX);
            }
        }
    }
}
