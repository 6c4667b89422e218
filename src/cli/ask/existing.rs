//! Files that are named as targets: what is in them, and whether their names are those of devices.

use crate::image::recognise::{Kind, LOOK, recognise};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

/// Whether a regular file holds an image, packed or not, that somebody may still want.
pub fn is_image(path: &Path) -> bool {
    let mut start = Vec::new();
    let Ok(file) = File::open(path) else { return false };
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let most = u64::try_from(LOOK).unwrap_or(u64::MAX);
    let is_read = is_file && file.take(most).read_to_end(&mut start).is_ok();
    is_read && !matches!(recognise(&start), Kind::Unknown)
}

/// How the name of a file that does not exist looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Somebody who types this means a disk.
    Device,
    /// A bare word: it may be a file or a mistake.
    Word,
    /// A path, or a name that ends as those of images do.
    File,
}

/// Beginnings of names of disks, behind which come letters or digits.
const DISKS: [&str; 8] = ["sd", "hd", "vd", "xvd", "mmcblk", "nvme", "loop", "disk"];
/// What mounts and boot loaders call a disk by.
const TAGS: [&str; 4] = ["LABEL=", "UUID=", "PARTLABEL=", "PARTUUID="];

/// Judges the name of a target that does not exist.
pub fn name(path: &Path) -> Name {
    let text = path.to_string_lossy();
    let parts: Vec<Component<'_>> = path.components().collect();
    let is_below_dev = matches!(&*parts, [Component::Normal(first), _, ..] if *first == "dev");
    if is_below_dev || TAGS.iter().any(|tag| text.starts_with(tag)) {
        return Name::Device;
    }
    if text.contains('/') || path.extension().is_some() {
        return Name::File;
    }
    let is_disk = |start: &&&str| {
        let rest = text.strip_prefix(**start).unwrap_or_default();
        let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
        let is_letters =
            matches!(letters.len(), 1 | 2) && letters.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_numbers = rest.starts_with(|c: char| c.is_ascii_digit());
        !rest.is_empty() && (is_letters || is_numbers)
    };
    let bare = text.strip_prefix('r').unwrap_or(&text);
    if DISKS.iter().any(|start| is_disk(&start)) || bare.starts_with("disk") && bare.len() > 4 {
        Name::Device
    } else {
        Name::Word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_disks_are_told_from_names_of_files() {
        for word in [
            "sda", "sdb1", "mmcblk0", "nvme0n1", "loop0", "disk2", "rdisk4", "vda", "dev/sdb", "LABEL=X",
            "UUID=1-2",
        ] {
            assert_eq!(name(Path::new(word)), Name::Device, "{word}");
        }
        for word in ["target", "card", "sdcard", "backup", "sda-old"] {
            assert_eq!(name(Path::new(word)), Name::Word, "{word}");
        }
        for path in ["./sda", "/tmp/card", "pi.img", "out/x"] {
            assert_eq!(name(Path::new(path)), Name::File, "{path}");
        }
    }
}
