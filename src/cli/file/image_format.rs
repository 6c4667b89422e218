//! The format of an image that is made: by name or by word, and how hard it is packed.

use crate::cli::exit::{Code, Failure};
use crate::format::disk::container::qcow2::Compression;
use crate::image::container::Form;
use crate::image::write::packing::Packing;
use std::ops::RangeInclusive;
use std::path::Path;

/// How an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Sparse, as it is
    Raw,
    /// Zstandard
    Zst,
    /// xz
    Xz,
    /// gzip
    Gz,
    /// QEMU, packed by deflate; needs a file
    Qcow2,
    /// QEMU, packed by Zstandard, which older programs cannot read
    Qcow2Zstd,
    /// QEMU, as it is
    Qcow2Plain,
    /// VirtualBox
    Vdi,
    /// Azure; as long as the disk
    Vhd,
    /// Hyper-V
    Vhdx,
    /// VMware, a packed stream
    Vmdk,
}

/// A format with all that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The disk itself.
    Disk(Packing),
    /// A container of it.
    Container(Form),
}

/// Endings of names, and what they ask for.
const ENDINGS: [(&str, Format); 9] = [
    ("zst", Format::Zst),
    ("zstd", Format::Zst),
    ("xz", Format::Xz),
    ("gz", Format::Gz),
    ("qcow2", Format::Qcow2),
    ("vdi", Format::Vdi),
    ("vhd", Format::Vhd),
    ("vhdx", Format::Vhdx),
    ("vmdk", Format::Vmdk),
];

/// Endings that say what a file is, and that it is none of what is made.
const UNOFFERED: [&str; 26] = [
    "7z", "br", "bz2", "cpio", "dmg", "iso", "lz", "lz4", "lzma", "lzo", "nar", "ova", "ovf", "qcow", "qed",
    "rar", "squashfs", "tar", "tbz2", "tgz", "txz", "tzst", "vpc", "wim", "wsl", "zip",
];

fn ending(path: &Path) -> Option<String> {
    path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase)
}

/// A name that says something else than what would be in the file.
fn unoffered(path: &Path, ending: &str) -> Failure {
    Failure::new(Code::Usage, format!("{}: no image is made as .{ending}", path.display()))
        .hint("name it .img, .zst, .xz, .gz, .qcow2, .vdi, .vhd, .vhdx or .vmdk; or say how with --format")
}

impl Format {
    /// What a name asks for.
    pub fn of_name(path: &Path) -> Result<Self, Failure> {
        let Some(last) = ending(path) else { return Ok(Self::Raw) };
        if UNOFFERED.contains(&&*last) {
            return Err(unoffered(path, &last));
        }
        let format =
            ENDINGS.iter().find(|(ending, _)| *ending == last).map_or(Self::Raw, |(_, format)| *format);
        // What is inside a packed file is the disk itself.
        let within = ending(&path.with_extension(""));
        let is_packed = matches!(format, Self::Zst | Self::Xz | Self::Gz);
        let is_other =
            |name: &str| UNOFFERED.contains(&name) || ENDINGS.iter().any(|(ending, _)| *ending == name);
        match within.filter(|within| is_packed && is_other(within)) {
            Some(within) => Err(unoffered(path, &format!("{within}.{last}"))),
            None => Ok(format),
        }
    }

    /// The format, packed as hard as is said or usual.
    pub fn shape(self, level: Option<u32>) -> Result<Shape, Failure> {
        let within = |usual: u32, range: RangeInclusive<u32>| {
            let level = level.unwrap_or(usual);
            if range.contains(&level) {
                return Ok(level);
            }
            let (first, last) = (range.start(), range.end());
            let what = format!("--level {level}: expected {first} to {last} for this format");
            Err(Failure::new(Code::Usage, what))
        };
        let disk = |packing: Packing| match (packing.levels(), level) {
            (None, Some(_)) => Err(Failure::new(Code::Usage, "--level: a raw image is not compressed")),
            (Some(levels), Some(level)) => Ok(Shape::Disk(packing.at(within(level, levels)?))),
            (_, None) => Ok(Shape::Disk(packing)),
        };
        let plain = |shape: Shape, what: &str| match level {
            Some(_) => Err(Failure::new(Code::Usage, format!("--level: a {what} image is not compressed"))),
            None => Ok(shape),
        };
        let packed = |compression, level| Shape::Container(Form::PackedQcow2 { compression, level });
        Ok(match self {
            Self::Raw => disk(Packing::RAW)?,
            Self::Zst => disk(Packing::ZST)?,
            Self::Xz => disk(Packing::XZ)?,
            Self::Gz => disk(Packing::GZ)?,
            Self::Qcow2 => packed(Compression::Deflate, within(Form::DEFLATE_LEVEL, 1..=9)?),
            Self::Qcow2Zstd => packed(Compression::Zstd, within(Form::ZSTD_LEVEL, 1..=19)?),
            Self::Qcow2Plain => plain(Shape::Container(Form::PlainQcow2), "plain qcow2")?,
            Self::Vdi => plain(Shape::Container(Form::Vdi), "vdi")?,
            Self::Vhd => plain(Shape::Container(Form::Vhd), "vhd")?,
            Self::Vhdx => plain(Shape::Container(Form::Vhdx), "vhdx")?,
            Self::Vmdk => Shape::Container(Form::Vmdk { level: within(Form::GRAIN_LEVEL, 1..=9)? }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_asks_for_what_it_says_and_for_nothing_else() {
        for (name, format) in [
            ("pi.img", Format::Raw),
            ("pi", Format::Raw),
            ("pi-24.05", Format::Raw),
            ("/dev/shm/a.b/pi.img.ZST", Format::Zst),
            ("nixos-25.11.xz", Format::Xz),
            ("vm.qcow2", Format::Qcow2),
            ("vm.VHDX", Format::Vhdx),
        ] {
            assert_eq!(Format::of_name(Path::new(name)).ok(), Some(format), "{name}");
        }
        for name in ["pi.img.bz2", "pi.zip", "vm.qcow2.xz", "vm.tar.gz", "vm.ova", "vm.img.zst.gz", "vm.ISO"]
        {
            assert!(Format::of_name(Path::new(name)).is_err(), "{name}");
        }
    }
}
