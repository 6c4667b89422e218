//! Tables as bytes.

use super::{Error, GPT_ENTRIES, GPT_ENTRY, GPT_MAGIC, Gpt, Mbr, MbrPartition, SectorSize, Table};
use crate::num;

/// Every range of the disk that a table takes, in ascending order.
pub fn encode(table: &Table, disk_len: u64, sector: SectorSize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    match table {
        Table::Mbr(mbr) => {
            let sectors = disk_len / sector.bytes();
            ensure_places(mbr.partitions.iter().map(|p| (p.number, p.start, p.sectors)), 1, sectors.saturating_sub(1))?;
            Ok(vec![(0, encode_mbr(mbr, sector)?)])
        }
        Table::Gpt(gpt) => encode_gpt(gpt, disk_len, sector),
    }
}

fn ensure_places(partitions: impl Iterator<Item = (u32, u64, u64)>, first: u64, end: u64) -> Result<(), Error> {
    let mut seen: Vec<(u64, u64, u32)> = Vec::new();
    for (number, start, sectors) in partitions {
        let last = start.saturating_add(sectors.saturating_sub(1));
        if sectors == 0 || start < first || last > end {
            return Err(Error::Outside { number, start, last, first, end });
        }
        seen.push((start, last, number));
    }
    seen.sort_unstable();
    match seen.windows(2).find(|pair| pair[0].1 >= pair[1].0) {
        Some(pair) => Err(Error::Overlap(pair[0].2, pair[1].2)),
        None => Ok(()),
    }
}

fn encode_mbr(mbr: &Mbr, sector: SectorSize) -> Result<Vec<u8>, Error> {
    if mbr.partitions.len() > 4 {
        return Err(Error::TooMany(mbr.partitions.len(), 4));
    }
    let mut out = vec![0; num::to_usize(sector.bytes())];
    out[440..444].copy_from_slice(&mbr.disk_id.to_le_bytes());
    for partition in &mbr.partitions {
        let at = 446 + 16 * num::to_usize(u64::from(partition.number.clamp(1, 4) - 1));
        mbr_entry(partition, &mut out[at..at + 16])?;
    }
    out[510..512].copy_from_slice(&[0x55, 0xaa]);
    Ok(out)
}

fn mbr_entry(partition: &MbrPartition, out: &mut [u8]) -> Result<(), Error> {
    let beyond = |_| Error::Beyond32(partition.number);
    let start = u32::try_from(partition.start).map_err(beyond)?;
    let sectors = u32::try_from(partition.sectors).map_err(beyond)?;
    out[0] = if partition.active { 0x80 } else { 0 };
    out[1..4].copy_from_slice(&chs(partition.start));
    out[4] = partition.kind;
    out[5..8].copy_from_slice(&chs(partition.start + partition.sectors - 1));
    out[8..12].copy_from_slice(&start.to_le_bytes());
    out[12..16].copy_from_slice(&sectors.to_le_bytes());
    Ok(())
}

/// A sector as cylinder, head, sector of a disk with 255 heads and 63 sectors; its end where that cannot say it.
fn chs(lba: u64) -> [u8; 3] {
    let (cylinder, head, sector) = (lba / (255 * 63), lba / 63 % 255, lba % 63 + 1);
    if cylinder > 1023 {
        return [0xfe, 0xff, 0xff];
    }
    let low = |n: u64| n.to_le_bytes()[0];
    [low(head), low(sector | cylinder >> 8 << 6), low(cylinder)]
}

fn encode_gpt(gpt: &Gpt, disk_len: u64, sector: SectorSize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    if gpt.partitions.len() > GPT_ENTRIES {
        return Err(Error::TooMany(gpt.partitions.len(), GPT_ENTRIES));
    }
    let unit = sector.bytes();
    let array = num::to_u64(GPT_ENTRIES * GPT_ENTRY) / unit;
    let sectors = disk_len / unit;
    let last = sectors.checked_sub(1).filter(|last| *last > 2 * array + 4).ok_or(Error::Disk(disk_len))?;
    let (first_usable, last_usable) = (2 + array, last - array - 1);
    ensure_places(gpt.partitions.iter().map(|p| (p.number, p.start, p.sectors)), first_usable, last_usable)?;

    let entries = gpt_entries(gpt)?;
    let header = |own: u64, other: u64, entries_at: u64| {
        let mut out = vec![0; num::to_usize(unit)];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, GPT_MAGIC);
        put(8, &0x0001_0000_u32.to_le_bytes());
        put(12, &92u32.to_le_bytes());
        put(24, &own.to_le_bytes());
        put(32, &other.to_le_bytes());
        put(40, &first_usable.to_le_bytes());
        put(48, &last_usable.to_le_bytes());
        put(56, &gpt.disk_guid.to_bytes_le());
        put(72, &entries_at.to_le_bytes());
        put(80, &128u32.to_le_bytes());
        put(84, &128u32.to_le_bytes());
        put(88, &crc32fast::hash(&entries).to_le_bytes());
        let sum = crc32fast::hash(&out[..92]);
        out[16..20].copy_from_slice(&sum.to_le_bytes());
        out
    };
    let mut head = protective_mbr(sectors, sector);
    head.extend(header(1, last, 2));
    head.extend(&entries);
    let mut tail = entries.clone();
    tail.extend(header(last, 1, last - array));
    Ok(vec![(0, head), ((last - array) * unit, tail)])
}

fn protective_mbr(sectors: u64, sector: SectorSize) -> Vec<u8> {
    let mut out = vec![0; num::to_usize(sector.bytes())];
    let covered = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    out[447..450].copy_from_slice(&[0, 2, 0]);
    out[450] = 0xee;
    out[451..454].copy_from_slice(&chs(sectors - 1));
    out[454..458].copy_from_slice(&1u32.to_le_bytes());
    out[458..462].copy_from_slice(&covered.to_le_bytes());
    out[510..512].copy_from_slice(&[0x55, 0xaa]);
    out
}

fn gpt_entries(gpt: &Gpt) -> Result<Vec<u8>, Error> {
    let mut entries = vec![0; GPT_ENTRIES * GPT_ENTRY];
    for partition in &gpt.partitions {
        let slot = num::to_usize(u64::from(partition.number.max(1) - 1));
        let Some(out) = entries.chunks_exact_mut(GPT_ENTRY).nth(slot) else {
            return Err(Error::TooMany(slot + 1, GPT_ENTRIES));
        };
        let name: Vec<u16> = partition.name.encode_utf16().collect();
        if name.len() > 36 {
            return Err(Error::Name(partition.number));
        }
        out[0..16].copy_from_slice(&partition.type_guid.to_bytes_le());
        out[16..32].copy_from_slice(&partition.unique_guid.to_bytes_le());
        out[32..40].copy_from_slice(&partition.start.to_le_bytes());
        out[40..48].copy_from_slice(&(partition.start + partition.sectors - 1).to_le_bytes());
        out[48..56].copy_from_slice(&partition.attributes.to_le_bytes());
        for (unit, bytes) in name.iter().zip(out[56..].chunks_exact_mut(2)) {
            bytes.copy_from_slice(&unit.to_le_bytes());
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mbr_is_that_of_sfdisk() {
        // The table of NixOS's sd-image as sfdisk 2.38 writes it, from byte 440.
        let expected = "4e697821000000050501 0bd7130400400000 00f00000 80d71404 838b3d06 00300100 f86a0000";
        let partition = |number, start, sectors, kind, active| MbrPartition { number, start, sectors, kind, active };
        let partitions = vec![partition(1, 16384, 61440, 0x0b, false), partition(2, 77824, 27384, 0x83, true)];
        let mbr = Table::Mbr(Mbr { disk_id: 0x2178_694e, partitions });
        let bytes = &encode(&mbr, 105_208 * 512, SectorSize::S512).unwrap()[0].1;
        let hex: String = bytes[440..478].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, expected.replace(' ', ""));
        assert_eq!(bytes[510..], [0x55, 0xaa]);
    }

    #[test]
    fn wrong_places_are_refused() {
        let partition = |number, start, sectors| MbrPartition { number, start, sectors, kind: 0x83, active: false };
        let table = |partitions| encode(&Table::Mbr(Mbr { disk_id: 1, partitions }), 1 << 30, SectorSize::S512);
        assert_eq!(table(vec![partition(1, 100, 100), partition(2, 150, 10)]), Err(Error::Overlap(1, 2)));
        assert!(matches!(table(vec![partition(1, 0, 100)]), Err(Error::Outside { .. })));
        assert!(matches!(table(vec![partition(1, 100, 1 << 30)]), Err(Error::Outside { .. })));
        assert!(matches!(table(vec![partition(1, u64::MAX, 2)]), Err(Error::Outside { .. })));
    }
}
