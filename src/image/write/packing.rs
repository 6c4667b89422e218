//! What an image can be made as: the disk itself as it is, zst, xz, gz, or a container of it. The bytes depend on the image
//! and the level, never on the number of threads.
//!
//! [`Packing::ALL`] is the one list: names of options, endings of files and levels are read from it.

use super::container::Form;
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
    /// A container of virtual machines.
    Container(Form),
}

/// A name says that a file is something which no image is made as.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no image is made as .{0}")]
pub struct Unoffered(pub String);

/// Endings that say what a file is, and that it is none of what is made.
const UNOFFERED: [&str; 26] = [
    "7z", "br", "bz2", "cpio", "dmg", "iso", "lz", "lz4", "lzma", "lzo", "nar", "ova", "ovf", "qcow", "qed",
    "rar", "squashfs", "tar", "tbz2", "tgz", "txz", "tzst", "vpc", "wim", "wsl", "zip",
];

fn ending(path: &Path) -> Option<String> {
    path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase)
}

impl Packing {
    /// All of them, each with the level that its own program takes where none is given.
    pub const ALL: [Self; 11] = [
        Self::Raw,
        Self::Zst { level: 3 },
        Self::Xz { level: 6 },
        Self::Gz { level: 6 },
        Self::Container(Form::QCOW2),
        Self::Container(Form::QCOW2_ZSTD),
        Self::Container(Form::PlainQcow2),
        Self::Container(Form::Vdi),
        Self::Container(Form::Vhd),
        Self::Container(Form::Vhdx),
        Self::Container(Form::VMDK),
    ];

    /// Its name in options and project files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Zst { .. } => "zst",
            Self::Xz { .. } => "xz",
            Self::Gz { .. } => "gz",
            Self::Container(form) => form.name(),
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
            Self::Container(form) => form.about(),
        }
    }

    /// The levels that it has; `None` where nothing is compressed.
    #[must_use]
    pub const fn levels(self) -> Option<RangeInclusive<u32>> {
        match self {
            Self::Raw => None,
            Self::Zst { .. } => Some(1..=19),
            Self::Xz { .. } | Self::Gz { .. } => Some(0..=9),
            Self::Container(form) => form.levels(),
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
            Self::Container(form) => Self::Container(form.at(level)),
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|packing| packing.name() == name)
    }

    /// What a file name asks for by its ending.
    ///
    /// # Errors
    /// Where the ending is that of something else, which the image would not be.
    pub fn of_name(path: &Path) -> Result<Self, Unoffered> {
        let Some(last) = ending(path) else { return Ok(Self::Raw) };
        if UNOFFERED.contains(&&*last) {
            return Err(Unoffered(last));
        }
        let packing = Self::named(if last == "zstd" { "zst" } else { &last }).unwrap_or(Self::Raw);
        if matches!(packing, Self::Raw | Self::Container(_)) {
            return Ok(packing);
        }
        // What is inside a packed file is the disk itself.
        let is_other = |name: &String| {
            UNOFFERED.contains(&&**name) || Self::named(name).is_some_and(|it| it != Self::Raw)
        };
        match ending(&path.with_extension("")).filter(is_other) {
            Some(within) => Err(Unoffered(format!("{within}.{last}"))),
            None => Ok(packing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packing_is_found_by_its_name_and_its_ending() {
        for packing in Packing::ALL {
            assert_eq!(Packing::named(packing.name()), Some(packing));
            let name = format!("pi.img.{}", packing.name());
            assert_eq!(Packing::of_name(Path::new(&name)), Ok(packing));
            let levels = packing.levels();
            assert!(levels.is_none_or(|levels| packing.at(*levels.end()) != packing), "{packing:?}");
        }
    }

    #[test]
    fn a_name_asks_for_what_it_says_and_for_nothing_else() {
        for (name, packing) in [
            ("pi.img", "raw"),
            ("pi", "raw"),
            ("pi-24.05", "raw"),
            ("a.b/pi.img.ZST", "zst"),
            ("pi.img.zstd", "zst"),
            ("nixos-25.11.xz", "xz"),
            ("vm.qcow2", "qcow2"),
            ("vm.VHDX", "vhdx"),
        ] {
            assert_eq!(Packing::of_name(Path::new(name)).ok(), Packing::named(packing), "{name}");
        }
        for name in ["pi.img.bz2", "pi.zip", "vm.qcow2.xz", "vm.tar.gz", "vm.ova", "vm.img.zst.gz", "vm.ISO"]
        {
            assert!(Packing::of_name(Path::new(name)).is_err(), "{name}");
        }
    }
}
