//! How a stream of an image can be packed: as it is, zst, xz, gz. The bytes depend on the image and the level, never on
//! the number of threads.
//!
//! [`Packing::ALL`] is the one list: names of options, endings of files and levels are read from it.

use std::ops::RangeInclusive;
use std::path::Path;

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
    /// All of them, each with the level that its own program takes where none is given.
    pub const ALL: [Self; 4] =
        [Self::Raw, Self::Zst { level: 3 }, Self::Xz { level: 6 }, Self::Gz { level: 6 }];

    /// Its name in options and project files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Zst { .. } => "zst",
            Self::Xz { .. } => "xz",
            Self::Gz { .. } => "gz",
        }
    }

    /// What it is, for a list of options.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Raw => "Sparse, as it is",
            Self::Zst { .. } => "Zstandard",
            Self::Xz { .. } => "xz",
            Self::Gz { .. } => "gzip",
        }
    }

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

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|packing| packing.name() == name)
    }

    /// What a file name asks for by its ending.
    #[must_use]
    pub fn of_name(path: &Path) -> Self {
        let ending = path.extension().and_then(|extension| extension.to_str());
        let name = if ending == Some("zstd") { Some("zst") } else { ending };
        name.and_then(Self::named).unwrap_or(Self::Raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packing_is_found_by_its_name_and_its_ending() {
        for packing in Packing::ALL {
            assert_eq!(Packing::named(packing.name()), Some(packing));
            assert_eq!(Packing::of_name(Path::new(&format!("pi.img.{}", packing.name()))), packing);
            let levels = packing.levels();
            assert!(levels.is_none_or(|levels| packing.at(*levels.end()) != packing), "{packing:?}");
        }
        assert_eq!(Packing::of_name(Path::new("pi.img.zstd")), Packing::Zst { level: 3 });
        assert_eq!(Packing::of_name(Path::new("pi.img")), Packing::Raw);
    }
}
