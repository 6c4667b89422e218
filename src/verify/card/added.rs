//! Partitions that the manifest does not have: harmless only where neither a boot loader nor a system takes them for
//! theirs.
//!
//! U-Boot (2025.01, `boot/bootdev-uclass.c`) and EDK2 (`MdeModulePkg/Universal/Disk/PartitionDxe`) look into every
//! partition, Linux finds a root by label, UUID or PARTUUID, whichever of two it sees last (`blkid`, udev's by-label
//! rules). So what was added may be swap, zeros, or something without a name that is ours.

use super::findings::Findings;
use super::manifest::Manifest;
use super::part::{Part, Shared};
use super::place::{Place, System};
use crate::format::disk::ext4::read::Ext4;
use crate::format::disk::fat::read;
use crate::format::disk::partition_table::{Reading, Span, Table};
use crate::ints;
use crate::stream::{ReadAt, Window};
use serde_json::Value;

/// How much of a partition is looked at to say what it is.
const LOOKED_AT: usize = 128 << 10;
/// Where swap says so, at the end of its first page of 4 KiB.
const SWAP: usize = 4086;

/// Names that a system or a boot loader looks for.
struct Ours {
    names: Vec<String>,
}

impl Ours {
    fn of(manifest: &Manifest) -> Self {
        let keys = ["rootLabel", "rootUuid", "bootLabel", "bootVolumeId", "disk"];
        let mut names: Vec<String> = keys
            .iter()
            .filter_map(|key| manifest.at(&["identifiers", key])?.as_str().map(str::to_owned))
            .collect();
        let uuids = manifest.at(&["identifiers", "partitions"]).and_then(Value::as_array);
        names.extend(uuids.into_iter().flatten().filter_map(|uuid| uuid.as_str().map(str::to_owned)));
        let partitions = manifest.list("partitions").iter();
        names.extend(partitions.filter_map(|partition| partition["name"].as_str().map(str::to_owned)));
        names.retain(|name| !name.is_empty());
        Self { names }
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Judges the partitions that were added.
pub fn check(
    disk: Shared<'_>,
    reading: &Reading,
    manifest: &Manifest,
    places: &[Place<'_>],
    findings: &mut Findings,
) {
    let listed: Vec<u64> =
        manifest.list("partitions").iter().filter_map(|partition| partition["number"].as_u64()).collect();
    if listed.is_empty() {
        return;
    }
    let ours = Ours::of(manifest);
    for span in reading.places().iter().filter(|span| !listed.contains(&u64::from(span.number))) {
        let what = format!("partition {}", span.number);
        let place = places.iter().find(|place| place.number == span.number);
        match reason(reading, *span, place, &ours) {
            Some(why) => findings.bad(&what, &format!("it was added: {why}")),
            None => match look(Window::new(disk, span.start, span.len)) {
                Look::Nothing => findings.since(format!("{what} was added")),
                Look::Named(name) => {
                    findings.bad(&what, &format!("it was added: it has a {name}, which firmware may read"))
                }
                Look::Other => {
                    findings.uncovered(&what, "it was added, and what it holds was not judged");
                    findings.unjudged(format!("what {what} holds"));
                }
            },
        }
    }
}

/// Why a partition is one that somebody else may take for ours.
fn reason(reading: &Reading, span: Span, place: Option<&Place<'_>>, ours: &Ours) -> Option<String> {
    let by_table = match &reading.table {
        Some(Table::Mbr(mbr)) => {
            let found = mbr.partitions.iter().find(|partition| partition.number == span.number)?;
            match (found.active, found.kind) {
                (true, _) => Some("it is active, which U-Boot looks for".to_owned()),
                (false, 0xef) => Some("it is an EFI system partition".to_owned()),
                _ => None,
            }
        }
        Some(Table::Gpt(gpt)) => {
            let found = gpt.partitions.iter().find(|partition| partition.number == span.number)?;
            let unique = found.unique_guid.to_string();
            match () {
                () if found.attributes != 0 => {
                    Some("it has attributes, which boot loaders look for".to_owned())
                }
                () if found.type_guid == ESP => Some("it is an EFI system partition".to_owned()),
                () if ours.has(&found.name) => Some(format!("its name is {:?}, which is ours", found.name)),
                () if ours.has(&unique) => Some(format!("its PARTUUID is {unique}, which is ours")),
                () => None,
            }
        }
        None => None,
    };
    by_table.or_else(|| by_place(place?, ours))
}

/// The type of an EFI system partition.
const ESP: uuid::Uuid = uuid::uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");

fn by_place(place: &Place<'_>, ours: &Ours) -> Option<String> {
    match &place.system {
        System::Fat(_) => Some("it has a FAT, which firmware reads".to_owned()),
        System::Ext4(ext4) => {
            let superblock = &ext4.superblock;
            let (label, uuid) = (&superblock.label, superblock.uuid.to_string());
            if ours.has(label) {
                return Some(format!("its label is {label:?}, which is ours"));
            }
            if ours.has(&uuid) {
                return Some(format!("its UUID is {uuid}, which is ours"));
            }
            boots(ext4).map(|path| format!("it has {path}, where boot loaders look"))
        }
    }
}

/// What of an ext4 a boot loader would look at.
pub fn boots(ext4: &Ext4<Part<'_>>) -> Option<&'static str> {
    const PATHS: [&str; 8] =
        ["/boot", "/extlinux", "/EFI", "/efi", "/boot.scr", "/boot.scr.uimg", "/uEnv.txt", "/uboot.env"];
    PATHS.into_iter().find(|path| ext4.lookup(path.as_bytes()).is_ok())
}

/// What the first bytes of a partition look like.
enum Look {
    /// Zeros, or swap.
    Nothing,
    /// A boot sector or the like.
    Named(&'static str),
    /// Anything else.
    Other,
}

fn look(part: Part<'_>) -> Look {
    let len = ints::to_usize(part.size().min(ints::to_u64(LOOKED_AT)));
    let mut bytes = vec![0; len];
    if len < 4096 || part.read_exact_at(&mut bytes, 0).is_err() {
        return Look::Other;
    }
    if bytes.iter().all(|byte| *byte == 0)
        || bytes[SWAP..SWAP + 10] == *b"SWAPSPACE2" && bytes[510..512] != [0x55, 0xaa]
    {
        return Look::Nothing;
    }
    if bytes[510..512] == [0x55, 0xaa] {
        return Look::Named("boot sector");
    }
    match read::open(part) {
        Ok(_) => Look::Named("FAT"),
        Err(_) => Look::Other,
    }
}
