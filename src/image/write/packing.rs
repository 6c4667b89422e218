//! How a stream of an image can be packed: as it is, zst, xz, gz. The bytes depend on the image and the level, never on
//! the number of threads.
//!
//! Which names and endings ask for which is said where options are read.

use std::ops::RangeInclusive;

/// How an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Raw,
    /// One Zstandard frame.
    Zst {
        /// 1 to 19.
        level: u32,
    },
    /// xz in blocks.
    Xz {
        /// 0 to 9.
        level: u32,
    },
    /// One gzip member.
    Gz {
        /// 0 to 9.
        level: u32,
    },
}

impl Packing {
    /// As it is.
    pub const RAW: Self = Self::Raw;
    /// Zstandard at the level that its own program takes where none is given.
    pub const ZST: Self = Self::Zst { level: 3 };
    /// The same of xz.
    pub const XZ: Self = Self::Xz { level: 6 };
    /// The same of gzip.
    pub const GZ: Self = Self::Gz { level: 6 };

    /// The levels that it has; `None` where nothing is compressed.
    #[must_use]
    pub const fn levels(self) -> Option<RangeInclusive<u32>> {
        match self {
            Self::Raw => None,
            Self::Zst { .. } => Some(1..=19),
            Self::Xz { .. } | Self::Gz { .. } => Some(0..=9),
        }
    }

    /// The same at another level, of [`Packing::levels`].
    #[must_use]
    pub const fn at(self, level: u32) -> Self {
        match self {
            Self::Raw => Self::Raw,
            Self::Zst { .. } => Self::Zst { level },
            Self::Xz { .. } => Self::Xz { level },
            Self::Gz { .. } => Self::Gz { level },
        }
    }
}
