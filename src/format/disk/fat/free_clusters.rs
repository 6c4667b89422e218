//! The allocation table of FAT16 and FAT32.
//!
//! ```text
//! boot sector   0b bytes per sector u16  0d sectors per cluster u8  0e reserved u16  10 tables u8  11 root entries u16
//!               13 sectors u16  16 sectors per table u16  20 sectors u32  24 sectors per table u32
//! table         16 or 32 bits for each cluster, of which the low 28 count; 0 for a free one
//! ```
//! Source: Microsoft's FAT specification 1.03. FAT12 is too small to matter.

use crate::format::disk::usage::{Run, Usage, Want, le16, le32};
use crate::num;

/// A table that is taken in, in bytes.
const MAX_TABLE: u64 = 16 << 20;

/// The map of a FAT file system.
pub struct Fat {
    wide: bool,
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
        let b = boot.get(..512)?;
        let (sector, per_cluster) = (u64::from(le16(b, 0x0b)), u64::from(b[0x0d]));
        let sound = [512, 1024, 2048, 4096].contains(&sector) && per_cluster.is_power_of_two();
        if b[510..] != [0x55, 0xaa] || !sound || !(1..=2).contains(&b[0x10]) {
            return None;
        }
        let pick = |narrow: u16, wide: u32| if narrow != 0 { u64::from(narrow) } else { u64::from(wide) };
        let (reserved, total) = (u64::from(le16(b, 0x0e)), pick(le16(b, 0x13), le32(b, 0x20)));
        let table = pick(le16(b, 0x16), le32(b, 0x24));
        let root = (u64::from(le16(b, 0x11)) * 32).div_ceil(sector);
        let data = reserved + u64::from(b[0x10]) * table + root;
        let clusters = total.checked_sub(data)? / per_cluster;
        let wide = clusters >= 65525;
        let bytes = (clusters + 2) * if wide { 4 } else { 2 };
        let fits = total * sector <= partition && bytes <= table * sector && bytes <= MAX_TABLE;
        (clusters >= 4085 && reserved > 0 && fits).then_some(Self {
            wide,
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
        self.used.as_ref().and_then(|used| used.get(num::to_usize(cluster)).copied()).unwrap_or(true)
    }
}

impl Usage for Fat {
    fn take(&mut self, _want: Want, bytes: &[u8]) -> Vec<Want> {
        let used = if self.wide {
            bytes.chunks_exact(4).skip(2).map(|entry| le32(entry, 0) & 0x0fff_ffff != 0).collect()
        } else {
            bytes.chunks_exact(2).skip(2).map(|entry| entry != [0, 0]).collect()
        };
        self.used = Some(used);
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
        let mut table = vec![0; num::to_usize(map.table().len)];
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
                map.take(map.table(), &vec![1; num::to_usize(map.table().len)]);
                assert!(map.run(at).end > at || at == u64::MAX);
            }
        }
    }
}
