//! What lies where in a qcow2; all numbers are big-endian.
//!
//! ```text
//! cluster 0         header, end of extensions
//! anywhere          refcount table -> refcount blocks: 16 bits for each cluster of the file
//!                   L1 table -> L2 tables: 64 bits for each cluster of the disk
//!                   clusters, plain or packed
//! ```

use crate::bytes::{Be32, Be64, U8};

pub(in crate::format::disk::container) const MAGIC: [u8; 4] = *b"QFI\xfb";

pub(super) const VERSION: Be32 = Be32(4);
pub(super) const BACKING_FILE_OFFSET: Be64 = Be64(8);
pub(super) const BACKING_FILE_SIZE: Be32 = Be32(16);
pub(super) const CLUSTER_BITS: Be32 = Be32(20);
pub(super) const SIZE: Be64 = Be64(24);
pub(super) const CRYPT_METHOD: Be32 = Be32(32);
pub(super) const L1_SIZE: Be32 = Be32(36);
pub(super) const L1_TABLE_OFFSET: Be64 = Be64(40);
pub(super) const REFCOUNT_TABLE_OFFSET: Be64 = Be64(48);
pub(super) const REFCOUNT_TABLE_CLUSTERS: Be32 = Be32(56);
pub(super) const NB_SNAPSHOTS: Be32 = Be32(60);
pub(super) const INCOMPATIBLE_FEATURES: Be64 = Be64(72);
pub(super) const REFCOUNT_ORDER: Be32 = Be32(96);
pub(super) const HEADER_LENGTH: Be32 = Be32(100);
pub(super) const COMPRESSION_TYPE: U8 = U8(104);

/// Bytes of a header of version 2, and of version 3 with a compression type.
pub(super) const V2_LEN: usize = 72;
pub(super) const V3_LEN: u32 = 112;
/// Counts of 16 bits.
pub(super) const REFCOUNT_ORDER_16: u32 = 4;

/// Bits of [`INCOMPATIBLE_FEATURES`].
pub(super) const DIRTY: u64 = 1;
pub(super) const CORRUPT: u64 = 1 << 1;
pub(super) const EXTERNAL_DATA: u64 = 1 << 2;
pub(super) const COMPRESSION: u64 = 1 << 3;
pub(super) const EXTENDED_L2: u64 = 1 << 4;

/// Bits of an entry of L1 and L2: the cluster is used once; it is packed; it is zeros.
pub(super) const COPIED: u64 = 1 << 63;
pub(super) const PACKED: u64 = 1 << 62;
pub(super) const ZERO: u64 = 1;
/// Where an entry says that something lies.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Packed clusters are measured in these, in bytes.
pub(super) const SECTOR: u64 = 512;

/// The length of a cluster that nixflash writes, in bytes: QEMU's own. A larger one packs a little better, and the first
/// write of a guest into it copies all of it.
pub const CLUSTER: u64 = 1 << CLUSTER_BITS_WRITTEN;
pub(super) const CLUSTER_BITS_WRITTEN: u32 = 16;

/// The widths of the two parts of an entry for a packed cluster: bits of the offset, bits of the count of sectors.
pub(super) const fn packed_bits(cluster_bits: u32) -> (u32, u32) {
    (62 - (cluster_bits - 8), cluster_bits - 8)
}

/// How clusters are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Raw deflate with a window of 12 bits: what every reader has.
    Deflate,
    /// Zstandard: what newer ones have.
    Zstd,
}

impl Compression {
    /// As the header has it.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Deflate => 0,
            Self::Zstd => 1,
        }
    }

    /// What the header says.
    pub(super) const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Deflate),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Where the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The length of the disk in bytes.
    pub size: u64,
    /// Entries of L1.
    pub l1_entries: u32,
    /// L1, in bytes from the start.
    pub l1: u64,
    /// The refcount table, in bytes from the start.
    pub refcount_table: u64,
    /// Its length in clusters.
    pub refcount_table_clusters: u32,
}

/// The header cluster, all but its zeros.
pub(super) fn header(places: &Places, compression: Compression) -> Vec<u8> {
    // Behind the header are eight zero bytes: the end of the extensions.
    let mut header = vec![0; 128];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    VERSION.put(&mut header, 3);
    CLUSTER_BITS.put(&mut header, CLUSTER_BITS_WRITTEN);
    SIZE.put(&mut header, places.size);
    L1_SIZE.put(&mut header, places.l1_entries);
    L1_TABLE_OFFSET.put(&mut header, places.l1);
    REFCOUNT_TABLE_OFFSET.put(&mut header, places.refcount_table);
    REFCOUNT_TABLE_CLUSTERS.put(&mut header, places.refcount_table_clusters);
    let incompatible = if compression == Compression::Zstd { COMPRESSION } else { 0 };
    INCOMPATIBLE_FEATURES.put(&mut header, incompatible);
    REFCOUNT_ORDER.put(&mut header, REFCOUNT_ORDER_16);
    HEADER_LENGTH.put(&mut header, V3_LEN);
    COMPRESSION_TYPE.put(&mut header, compression.code());
    header
}
