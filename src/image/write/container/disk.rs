//! What is known of a disk before it is written, and how it is wanted.

use crate::format::disk::container::Kind;
use crate::format::disk::container::qcow2::Compression;
use std::ops::Range;

/// A container, with all that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// qcow2, each cluster as it is.
    PlainQcow2,
    /// qcow2, each cluster packed.
    PackedQcow2 {
        /// How.
        compression: Compression,
        /// Deflate: 1 to 9; Zstandard: 1 to 19.
        level: u32,
    },
    /// VDI, dynamic.
    Vdi,
    /// VHD, fixed.
    Vhd,
    /// VHDX, dynamic.
    Vhdx,
    /// VMDK, streamOptimized.
    Vmdk {
        /// 1 to 9.
        level: u32,
    },
}

impl Form {
    /// The usual level of deflate in a qcow2.
    pub const DEFLATE_LEVEL: u32 = 6;
    /// The usual level of Zstandard in a qcow2. Level 3 is 0.3 % longer than what qemu-img makes at it, which does not tell
    /// the library how short a cluster is.
    pub const ZSTD_LEVEL: u32 = 4;
    /// The usual level of deflate in a VMDK.
    pub const GRAIN_LEVEL: u32 = 6;

    /// The container.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::PlainQcow2 | Self::PackedQcow2 { .. } => Kind::Qcow2,
            Self::Vdi => Kind::Vdi,
            Self::Vhd => Kind::Vhd,
            Self::Vhdx => Kind::Vhdx,
            Self::Vmdk { .. } => Kind::Vmdk,
        }
    }

    /// Whether it can be written in order, and so go into a pipe.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        !matches!(self, Self::PackedQcow2 { .. })
    }
}

/// A disk that is to be written.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its length in bytes, a multiple of 512.
    pub size: u64,
    /// Where it has something, ascending ranges of bytes; all else is zeros or does not matter.
    pub data: Vec<Range<u64>>,
    /// What identifiers derive from: the same for the same contents only.
    pub seed: [u8; 32],
}

/// The namespace of the identifiers of containers; made once at random.
const NAMESPACE: uuid::Uuid = uuid::Uuid::from_u128(0x2f64_b8a1_0c5e_4d7b_9a43_71d0_5be8_c6f2);

impl Disk {
    /// The UUID (version 5) for a purpose, its bytes in the order of their digits.
    pub(super) fn uuid(&self, purpose: &str) -> [u8; 16] {
        let name = [&self.seed[..], purpose.as_bytes()].concat();
        *uuid::Uuid::new_v5(&NAMESPACE, &name).as_bytes()
    }
}
