//! The boot sector, FSInfo, and the entries of the allocation table. Numbers are little-endian.
//!
//! ```text
//! FAT16 | boot sector, reserved | FAT | FAT | root, 512 slots | cluster 2 | 3 | ...
//! FAT32 | boot, FSInfo, copies at 6 and 7, reserved | FAT | FAT | cluster 2: root | ...
//! ```
//! Source: Microsoft, "FAT32 File System Specification" (fatgen103) and FAT specification 1.03; names are theirs.

use crate::bytes::{Le16, Le32, Raw, U8};
use std::fmt;

/// Bytes of a boot sector that mean something, whatever the size of sectors is; of FSInfo too.
pub const LEN: usize = 512;
/// What [`SIGNATURE_WORD`] says.
pub const SIGNATURE: u16 = 0xaa55;
/// Sizes that sectors have, in bytes.
pub const SECTOR_SIZES: [u64; 4] = [512, 1024, 2048, 4096];
/// What [`Tail::boot_sig`] says where volume id and label follow.
pub const EXTENDED_BOOT_SIGNATURE: u8 = 0x29;
/// A bit of [`BPB_EXT_FLAGS`]: only one FAT counts, whose number the low four bits are.
pub const EXT_FLAGS_ONE: u16 = 0x80;
/// Those four bits.
pub const EXT_FLAGS_ACTIVE: u16 = 0x0f;

pub const BS_JMP_BOOT: Raw<3> = Raw(0x000);
pub const BS_OEM_NAME: Raw<8> = Raw(0x003);
pub const BPB_BYTS_PER_SEC: Le16 = Le16(0x00b);
pub const BPB_SEC_PER_CLUS: U8 = U8(0x00d);
pub const BPB_RSVD_SEC_CNT: Le16 = Le16(0x00e);
pub const BPB_NUM_FATS: U8 = U8(0x010);
/// Slots of the root of a FAT16; 0 in a FAT32.
pub const BPB_ROOT_ENT_CNT: Le16 = Le16(0x011);
pub const BPB_TOT_SEC16: Le16 = Le16(0x013);
pub const BPB_MEDIA: U8 = U8(0x015);
/// Sectors of one FAT of a FAT16; 0 in a FAT32.
pub const BPB_FATSZ16: Le16 = Le16(0x016);
pub const BPB_SEC_PER_TRK: Le16 = Le16(0x018);
pub const BPB_NUM_HEADS: Le16 = Le16(0x01a);
/// Sectors of the disk before the volume.
pub const BPB_HIDD_SEC: Le32 = Le32(0x01c);
pub const BPB_TOT_SEC32: Le32 = Le32(0x020);
/// From here on only a FAT32 has these fields.
pub const BPB_FATSZ32: Le32 = Le32(0x024);
pub const BPB_EXT_FLAGS: Le16 = Le16(0x028);
pub const BPB_FS_VER: Le16 = Le16(0x02a);
pub const BPB_ROOT_CLUS: Le32 = Le32(0x02c);
/// The sector of FSInfo.
pub const BPB_FS_INFO: Le16 = Le16(0x030);
/// The sector with a copy of the boot sector; 0 for none.
pub const BPB_BK_BOOT_SEC: Le16 = Le16(0x032);
/// The byte that Linux changes while it has a FAT32 mounted, in the first copy only.
pub const BS_RESERVED1: U8 = U8(0x041);
/// The end of both kinds.
pub const SIGNATURE_WORD: Le16 = Le16(0x1fe);

/// The fields behind those that a type has alone, in two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    pub drv_num: U8,
    pub boot_sig: U8,
    /// The number that `lsblk` shows as UUID.
    pub vol_id: Le32,
    pub vol_lab: Raw<11>,
    /// For people; readers go by the number of clusters.
    pub fil_sys_type: Raw<8>,
    /// Where code begins.
    pub boot_code: Raw<3>,
}

impl Tail {
    const fn at(offset: usize) -> Self {
        Self {
            drv_num: U8(offset),
            boot_sig: U8(offset + 0x02),
            vol_id: Le32(offset + 0x03),
            vol_lab: Raw(offset + 0x07),
            fil_sys_type: Raw(offset + 0x12),
            boot_code: Raw(offset + 0x1a),
        }
    }

    /// Where they are in a volume of that type.
    pub const fn of(fat_type: FatType) -> Self {
        match fat_type {
            FatType::Fat16 => Self::at(0x024),
            FatType::Fat32 => Self::at(0x040),
        }
    }
}

/// FSInfo: three signatures, the number of free clusters, and where to look for one; all ones: unknown.
pub const FSI_LEAD_SIG: Le32 = Le32(0x000);
pub const FSI_STRUC_SIG: Le32 = Le32(0x1e4);
pub const FSI_FREE_COUNT: Le32 = Le32(0x1e8);
pub const FSI_NXT_FREE: Le32 = Le32(0x1ec);
pub const FSI_TRAIL_SIG: Le32 = Le32(0x1fc);
/// What the three say.
pub const LEAD_SIG: u32 = 0x4161_5252;
pub const STRUC_SIG: u32 = 0x6141_7272;
pub const TRAIL_SIG: u32 = 0xaa55_0000;

/// The type that a volume has; the number of its clusters decides, nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FatType {
    /// 4,085 to 65,524 clusters.
    Fat16,
    /// More clusters.
    Fat32,
}

/// The fewest clusters of a FAT16.
pub const FAT16_MIN_CLUSTERS: u64 = 4085;
/// The fewest of a FAT32.
pub const FAT32_MIN_CLUSTERS: u64 = 65_525;
/// The most of a FAT32.
pub const FAT32_MAX_CLUSTERS: u64 = 0x0fff_fff4;
/// The first cluster of data.
pub const FIRST_CLUSTER: u32 = 2;
/// The bits of an entry of a FAT32 that count; the rest is reserved.
pub const ENTRY_MASK: u32 = 0x0fff_ffff;

impl FatType {
    /// Bytes of an entry of the FAT.
    pub const fn entry_bytes(self) -> u64 {
        match self {
            Self::Fat16 => 2,
            Self::Fat32 => 4,
        }
    }

    /// The smallest entry that says that a chain ends.
    pub const fn end_mark(self) -> u32 {
        match self {
            Self::Fat16 => 0xfff8,
            Self::Fat32 => 0x0fff_fff8,
        }
    }

    /// What an entry of the FAT says, without reserved bits; `entry` begins with it.
    pub fn entry(self, entry: &[u8]) -> u32 {
        match self {
            Self::Fat16 => Le16(0).get(entry).into(),
            Self::Fat32 => Le32(0).get(entry) & ENTRY_MASK,
        }
    }
}

impl fmt::Display for FatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
        })
    }
}
