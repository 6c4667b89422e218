//! Identifiers that a partition must carry, as a system's words for its devices demand them.

use crate::board::{Board, TableKind};
use crate::format::boot::fstab::Device;
use crate::format::disk::fat;

/// The longest label of an ext4, in bytes.
const EXT4_LABEL: usize = 16;
/// The longest name in a GPT, in units of UTF-16.
const GPT_NAME: usize = 36;

/// Identifiers that one partition must carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Label of the file system.
    pub label: Option<String>,
    /// UUID of the file system, as written: 8-4-4-4-12 for ext4, ABCD-1234 for FAT.
    pub uuid: Option<String>,
    /// GPT: the unique GUID; MBR: disk id and number.
    pub partuuid: Option<String>,
    /// GPT: the name.
    pub partlabel: Option<String>,
}

/// The partition that a demand is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The ext4.
    Root,
    /// The FAT with boot files.
    Boot,
}

impl Target {
    /// The number of its partition, from 1.
    pub fn number(self, board: &Board) -> u32 {
        match self {
            // cannot fail: a profile has at most 4 partitions
            Self::Root => u32::try_from(board.partitions.len()).unwrap_or(u32::MAX),
            Self::Boot => board.boot_fat().map_or(0, |(number, _)| number),
        }
    }

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "ext4",
            Self::Boot => "FAT",
        }
    }
}

impl Demand {
    /// Takes over what a device specification says.
    pub fn set(&mut self, device: &Device) {
        let (slot, value) = match device {
            Device::Label(value) => (&mut self.label, value),
            Device::Uuid(value) => (&mut self.uuid, value),
            Device::PartUuid(value) => (&mut self.partuuid, value),
            Device::PartLabel(value) => (&mut self.partlabel, value),
            // A node is made by the kernel, nothing on the card has its name.
            Device::Path(_) => return,
        };
        *slot = Some(value.clone());
    }
}

/// Whether a partition of this board can carry an identifier, or have the number in the name of its node.
pub fn ensure_possible(device: &Device, target: Target, board: &Board) -> Result<(), String> {
    let (mbr, root) = (board.table == TableKind::Mbr, target == Target::Root);
    let possible = match device {
        Device::Label(label) if root => !label.is_empty() && label.len() <= EXT4_LABEL,
        Device::Label(label) => fat::Label::new(label).is_ok(),
        Device::Uuid(uuid) if root => is_uuid(uuid),
        Device::Uuid(uuid) => volume_id(uuid).is_some(),
        Device::PartUuid(partuuid) if mbr => disk_id_of(partuuid, target.number(board)).is_some(),
        Device::PartUuid(partuuid) => is_uuid(partuuid),
        Device::PartLabel(name) => !mbr && !name.is_empty() && name.encode_utf16().count() <= GPT_NAME,
        Device::Path(path) => return ensure_number(path, target, board),
    };
    if possible {
        return Ok(());
    }
    let table = if mbr { "an MBR" } else { "a GPT" };
    let number = target.number(board);
    let (what, value, reason) = match device {
        Device::Label(value) if root => ("label", value, "an ext4 has one of 1 to 16 bytes".to_owned()),
        Device::Label(value) => ("label", value, "a FAT cannot have it".to_owned()),
        Device::Uuid(value) if root => ("UUID", value, "an ext4 cannot have it".to_owned()),
        Device::Uuid(value) => ("UUID", value, "a FAT has one like ABCD-1234".to_owned()),
        Device::PartLabel(value) if mbr => {
            ("PARTLABEL", value, "this board has an MBR, which knows no names".to_owned())
        }
        Device::PartLabel(value) => {
            ("PARTLABEL", value, "a GPT has names of 1 to 36 units of UTF-16".to_owned())
        }
        Device::PartUuid(value) => {
            ("PARTUUID", value, format!("partition {number} in {table} on this board cannot have it"))
        }
        Device::Path(value) => ("device", value, String::new()),
    };
    Err(format!("it demands the {what} {value:?}: {reason}"))
}

/// A device by its number must be the partition that it is meant for.
fn ensure_number(path: &str, target: Target, board: &Board) -> Result<(), String> {
    if path.starts_with("/dev/mapper/") || path.starts_with("/dev/dm-") {
        return Err(format!("it needs the mapped device {path}, which a plain partition is not"));
    }
    let number = target.number(board);
    match partition_number(path) {
        Some(found) if found != number => {
            Err(format!("{path} is partition {found}; the {} is partition {number}", target.name()))
        }
        _ => Ok(()),
    }
}

/// Whether a UUID is written as links of udev have it: other forms that parsers take are never found. One of zeros means
/// none, to blkid and so to udev.
fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok_and(|uuid| !uuid.is_nil())
}

/// The number of a partition in the name of its node: 2 of `/dev/mmcblk0p2` and `/dev/sda2`.
fn partition_number(path: &str) -> Option<u32> {
    node(path).map(|(_, number)| number)
}

/// The node of the disk that a partition's node is of: `mmcblk0` of `/dev/mmcblk0p2`.
pub fn disk_of(path: &str) -> Option<&str> {
    node(path).map(|(disk, _)| disk)
}

/// Disk and number in the name of a partition's node.
fn node(path: &str) -> Option<(&str, u32)> {
    let name = path.strip_prefix("/dev/")?;
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (disk, number) = name.split_at(name.len() - digits);
    let by_letter = ["sd", "vd", "hd", "xvd"].iter().any(|kind| {
        let letters = disk.strip_prefix(kind);
        letters.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase()))
    });
    let before_p = disk.strip_suffix('p').filter(|disk| {
        disk.ends_with(|c: char| c.is_ascii_digit())
            && ["mmcblk", "nvme", "loop", "nbd"].iter().any(|kind| disk.starts_with(kind))
    });
    let disk = before_p.or_else(|| by_letter.then_some(disk))?;
    Some((disk, number.parse().ok()?))
}

/// The number that eight or two hexadecimal digits are, and nothing else: no sign, no blank.
fn hex(text: &str, digits: usize) -> Option<u32> {
    let plain = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(text, 16).ok())?
}

/// The disk id in a PARTUUID of an MBR partition, `2178694e-02`, if it is that of partition `number`. A disk whose id is 0
/// has none, so its partitions have no PARTUUID.
pub fn disk_id_of(partuuid: &str, number: u32) -> Option<u32> {
    let (disk, part) = partuuid.split_once('-')?;
    (hex(part, 2)? == number).then(|| hex(disk, 8).filter(|id| *id != 0))?
}

/// A volume id as fstab writes it: `ABCD-1234`. One of zeros means none, to blkid and so to udev.
pub fn volume_id(text: &str) -> Option<u32> {
    let (high, low) = text.split_once('-')?;
    Some(hex(high, 4)? << 16 | hex(low, 4)?).filter(|id| *id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_the_number_of_their_partition() {
        for (path, number) in [
            ("/dev/mmcblk0p2", Some(2)),
            ("/dev/nvme0n1p12", Some(12)),
            ("/dev/sda1", Some(1)),
            ("/dev/vdb", None),
            ("/dev/mmcblk0", None),
            ("/dev/disk/by-id/usb-x-part2", None),
            ("/dev/md0", None),
            ("tmpfs", None),
        ] {
            assert_eq!(partition_number(path), number, "{path}");
        }
    }

    #[test]
    fn what_a_partition_cannot_carry_is_said() {
        let (pi, efi) = (crate::board::find("rpi4").unwrap(), crate::board::find("uefi-aarch64").unwrap());
        for (spec, target, board, expected) in [
            ("LABEL=0123456789abcdefg", Target::Root, &pi, "1 to 16 bytes"),
            ("LABEL=twelve-chars", Target::Boot, &pi, "a FAT cannot have it"),
            ("UUID=ABCD-1234", Target::Root, &pi, "an ext4 cannot have it"),
            ("UUID=44444444-4444-4444-8888-888888888888", Target::Boot, &pi, "like ABCD-1234"),
            ("UUID=+BCD-1234", Target::Boot, &pi, "like ABCD-1234"),
            ("UUID=0000-0000", Target::Boot, &pi, "like ABCD-1234"),
            ("UUID=44444444444444448888888888888888", Target::Root, &pi, "an ext4 cannot have it"),
            ("UUID=00000000-0000-0000-0000-000000000000", Target::Root, &pi, "an ext4 cannot have it"),
            ("PARTUUID=2178694e-03", Target::Root, &pi, "partition 2 in an MBR"),
            ("PARTUUID=2178694e-2", Target::Root, &pi, "partition 2 in an MBR"),
            ("PARTUUID=+178694e-02", Target::Root, &pi, "partition 2 in an MBR"),
            ("PARTUUID=00000000-02", Target::Root, &pi, "partition 2 in an MBR"),
            ("PARTUUID=2178694e-02", Target::Root, &efi, "partition 2 in a GPT"),
            ("PARTLABEL=disk-main-root", Target::Root, &pi, "an MBR, which knows no names"),
            ("/dev/mapper/luks", Target::Root, &pi, "mapped device"),
            ("/dev/mmcblk0p1", Target::Root, &pi, "/dev/mmcblk0p1 is partition 1; the ext4 is partition 2"),
        ] {
            let found = ensure_possible(&Device::parse(spec), target, board).unwrap_err();
            assert!(found.contains(expected), "{spec}: {found}");
        }
    }
}
