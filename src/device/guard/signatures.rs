//! Signs on a disk that it is a part of something larger, whether or not that is running now.
//!
//! Own reading, because `blkid` is a program and udev's database may not be there. Only what a person would lose more
//! than this one disk by: volumes, arrays, caches, pools, encrypted containers. Offsets: the headers named below.

use crate::bytes::Le64;
use crate::ints;
use crate::stream::ReadAt;
use std::fmt;
use std::io;

/// What a disk or partition is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// An LVM physical volume: `LABELONE` in one of the first four sectors (LVM2 lib/label/label.h).
    Lvm,
    /// A Linux RAID member: the magic of mdadm's superblocks 0.90, 1.0, 1.1, 1.2 (md_p.h).
    Raid,
    /// A LUKS container (LUKS2 on-disk format 2.1).
    Luks,
    /// A bcache device or cache (include/uapi bcache.h: magic at sector 8, byte 24).
    Bcache,
    /// A bcachefs device (libbcachefs bcachefs_format.h: the same place).
    Bcachefs,
    /// A ZFS pool's device: uberblocks behind the first label (OpenZFS on-disk format).
    Zfs,
    /// One of several devices of a btrfs: `num_devices` of the superblock at 64 KiB.
    Btrfs,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lvm => "an LVM physical volume",
            Self::Raid => "a RAID member",
            Self::Luks => "a LUKS container",
            Self::Bcache => "a bcache device",
            Self::Bcachefs => "a bcachefs device",
            Self::Zfs => "a member of a ZFS pool",
            Self::Btrfs => "one of several devices of a btrfs",
        })
    }
}

const MD_MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
const BCACHE: [u8; 16] = *b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
const BCACHEFS: [u8; 16] = *b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
const ZFS_MAGIC: u64 = 0x00ba_b10c;
/// Where the uberblocks of the first ZFS label are: the second half of its 256 KiB.
const ZFS_UBERBLOCKS: u64 = 128 << 10;
/// The smallest uberblock.
const ZFS_UBERBLOCK: usize = 1 << 10;
const BTRFS_SUPERBLOCK: u64 = 64 << 10;

/// Looks for signs on a disk or partition. At most 150 KiB are read, wherever they lead.
pub fn member(disk: &dyn ReadAt) -> io::Result<Option<Member>> {
    let start = read(disk, 0, 8192)?;
    if let Some(start) = &start
        && let Some(found) = at_start(start)
    {
        return Ok(Some(found));
    }
    for offset in raid_at_end(disk.size()) {
        if read(disk, offset, 4096)?.is_some_and(|block| block.starts_with(&MD_MAGIC)) {
            return Ok(Some(Member::Raid));
        }
    }
    let btrfs = read(disk, BTRFS_SUPERBLOCK, 4096)?;
    if btrfs.is_some_and(|block| &block[0x40..0x48] == b"_BHRfS_M" && Le64(0x88).get(&block) > 1) {
        return Ok(Some(Member::Btrfs));
    }
    let uberblocks = read(disk, ZFS_UBERBLOCKS, 128 << 10)?.unwrap_or_default();
    let is_uberblock =
        |block: &[u8]| [Le64(0).get(block), Le64(0).get(block).swap_bytes()].contains(&ZFS_MAGIC);
    Ok(uberblocks.chunks_exact(ZFS_UBERBLOCK).any(is_uberblock).then_some(Member::Zfs))
}

fn at_start(start: &[u8]) -> Option<Member> {
    let is_label = |sector: &[u8]| sector.starts_with(b"LABELONE") && &sector[24..32] == b"LVM2 001";
    if start.starts_with(b"LUKS\xba\xbe") {
        return Some(Member::Luks);
    }
    if start[..2048].chunks_exact(512).any(is_label) {
        return Some(Member::Lvm);
    }
    if start.starts_with(&MD_MAGIC) || start[4096..].starts_with(&MD_MAGIC) {
        return Some(Member::Raid);
    }
    match &start[4096 + 24..4096 + 40] {
        magic if magic == BCACHE => Some(Member::Bcache),
        magic if magic == BCACHEFS => Some(Member::Bcachefs),
        _ => None,
    }
}

/// Where superblocks 1.0 (8 to 12 KiB before the end) and 0.90 (64 to 128 KiB before it) are.
fn raid_at_end(size: u64) -> impl Iterator<Item = u64> {
    let newer = (size & !511).checked_sub(8 << 10).map(|at| at & !4095);
    let older = (size & !0xffff).checked_sub(64 << 10);
    newer.into_iter().chain(older)
}

/// Reads a range, or `None` where the disk ends before.
fn read(disk: &dyn ReadAt, offset: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
    if disk.size().checked_sub(ints::to_u64(len)).is_none_or(|last| offset > last) {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    disk.read_exact_at(&mut bytes, offset)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    fn disk(len: usize, signs: &[(usize, &[u8])]) -> Vec<u8> {
        let mut disk = vec![0; len];
        for (offset, bytes) in signs {
            disk[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        disk
    }

    #[test]
    fn every_sign_is_seen_where_it_lies() {
        const LEN: usize = (1 << 20) + 512;
        let lvm: &[u8] = b"LABELONE\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0LVM2 001";
        for (signs, expected) in [
            (vec![], None),
            (vec![(0, &b"LUKS\xba\xbe\0\x02"[..])], Some(Member::Luks)),
            (vec![(512, lvm)], Some(Member::Lvm)),
            (vec![(1536, lvm)], Some(Member::Lvm)),
            (vec![(2048, lvm)], None),
            (vec![(4096, &MD_MAGIC[..])], Some(Member::Raid)),
            (vec![(0, &MD_MAGIC[..])], Some(Member::Raid)),
            (vec![((1 << 20) - (8 << 10), &MD_MAGIC[..])], Some(Member::Raid)),
            (vec![((1 << 20) - (64 << 10), &MD_MAGIC[..])], Some(Member::Raid)),
            (vec![(4096 + 24, &BCACHE[..])], Some(Member::Bcache)),
            (vec![(4096 + 24, &BCACHEFS[..])], Some(Member::Bcachefs)),
            (vec![((128 << 10) + 5 * 1024, &ZFS_MAGIC.to_le_bytes()[..])], Some(Member::Zfs)),
            (vec![((128 << 10) + 4 * 1024, &ZFS_MAGIC.to_be_bytes()[..])], Some(Member::Zfs)),
            (vec![(65536 + 0x40, &b"_BHRfS_M"[..]), (65536 + 0x88, &[2][..])], Some(Member::Btrfs)),
            (vec![(65536 + 0x40, &b"_BHRfS_M"[..]), (65536 + 0x88, &[1][..])], None),
        ] {
            assert_eq!(member(&&disk(LEN, &signs)[..]).unwrap(), expected, "{signs:?}");
        }
    }

    proptest! {
        #[test]
        fn any_disk_of_any_size_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            member(&&bytes[..]).unwrap();
        }
    }
}
