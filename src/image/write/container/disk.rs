//! What is known of a disk before it is written, and how it is wanted.

use crate::format::disk::container::Kind;
use crate::format::disk::container::qcow2::Compression;
use std::ops::{Range, RangeInclusive};

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
    /// A packed qcow2 as it is usually made.
    pub const QCOW2: Self = Self::PackedQcow2 { compression: Compression::Deflate, level: 6 };
    /// The same by Zstandard. Its level 3 is 0.3 % longer than what qemu-img makes at it, which does not tell the library
    /// how short a cluster is.
    pub const QCOW2_ZSTD: Self = Self::PackedQcow2 { compression: Compression::Zstd, level: 4 };
    /// A VMDK as it is usually made.
    pub const VMDK: Self = Self::Vmdk { level: 6 };

    /// Its name in options and project files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PackedQcow2 { compression: Compression::Deflate, .. } => "qcow2",
            Self::PackedQcow2 { compression: Compression::Zstd, .. } => "qcow2-zstd",
            Self::PlainQcow2 => "qcow2-plain",
            Self::Vdi => "vdi",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vmdk { .. } => "vmdk",
        }
    }

    /// What it is, for a list of options.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::PackedQcow2 { compression: Compression::Deflate, .. } => {
                "QEMU, packed by deflate; needs a file"
            }
            Self::PackedQcow2 { compression: Compression::Zstd, .. } => {
                "QEMU, packed by Zstandard, which older programs cannot read"
            }
            Self::PlainQcow2 => "QEMU, as it is",
            Self::Vdi => "VirtualBox",
            Self::Vhd => "Azure; as long as the disk",
            Self::Vhdx => "Hyper-V",
            Self::Vmdk { .. } => "VMware, a packed stream",
        }
    }

    /// The levels that it has; `None` where nothing is compressed.
    #[must_use]
    pub const fn levels(self) -> Option<RangeInclusive<u32>> {
        match self {
            Self::PackedQcow2 { compression: Compression::Zstd, .. } => Some(1..=19),
            Self::PackedQcow2 { .. } | Self::Vmdk { .. } => Some(1..=9),
            Self::PlainQcow2 | Self::Vdi | Self::Vhd | Self::Vhdx => None,
        }
    }

    /// The same at another level, of [`Form::levels`].
    #[must_use]
    pub const fn at(self, level: u32) -> Self {
        match self {
            Self::PackedQcow2 { compression, .. } => Self::PackedQcow2 { compression, level },
            Self::Vmdk { .. } => Self::Vmdk { level },
            form => form,
        }
    }

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
