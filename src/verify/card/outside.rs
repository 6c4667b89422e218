//! What lies outside of all partitions: the table's own bytes, boot loaders that a ROM looks for, and nothing else.

use super::error::Error;
use super::findings::Findings;
use super::manifest::Manifest;
use super::part::{How, Shared};
use crate::base_n;
use crate::format::disk::partition_table::{Reading, SectorSize, Table, encode};
use crate::ints;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// The most boot loaders, and the most bytes between partitions, that are looked at.
const MAX_RAW: usize = 64;
const MAX_GAPS: u64 = 256 << 20;
/// Bytes read at a time.
const CHUNK: u64 = 256 << 10;
/// Sectors that a GPT takes at the beginning of a disk: the protective MBR, the header, 16 KiB of entries.
const GPT_HEAD: u64 = 2;
const GPT_ARRAY: u64 = 16 << 10;

/// A boot loader as the manifest has it.
struct Raw {
    range: Range<u64>,
    sha256: String,
}

/// Compares boot loaders outside of partitions, gives how many are as the manifest has them, and looks whether anything
/// else lies there.
pub fn check(
    disk: Shared<'_>,
    reading: &Reading,
    manifest: &Manifest,
    how: &How<'_>,
    findings: &mut Findings,
) -> Result<u64, Error> {
    let raws = raws(manifest, disk.size(), findings);
    let mut equal = 0;
    for raw in &raws {
        let what = format!("boot loader at byte {}", raw.range.start);
        let mut hasher = Sha256::new();
        let read = each(disk, raw.range.clone(), how, &mut |bytes, _| {
            hasher.update(bytes);
            true
        })?;
        match read {
            Some(why) => findings.bad(&what, &why),
            None if base_n::to_base16(&hasher.finalize()) == raw.sha256 => equal += 1,
            None => findings.bad(&what, "it is not what was written"),
        }
    }
    if manifest.list("partitions").is_empty() {
        return Ok(equal);
    }
    if let Some(own) = own_sectors(disk, reading, findings)? {
        gaps(disk, (own, reading), &raws, how, findings)?;
    }
    Ok(equal)
}

fn raws(manifest: &Manifest, len: u64, findings: &mut Findings) -> Vec<Raw> {
    let one = |value: &Value| {
        let start = value.get("offset")?.as_u64()?;
        let end = start.checked_add(value.get("size")?.as_u64()?)?;
        let sha256 = value.get("sha256")?.as_str()?.to_ascii_lowercase();
        Some(Raw { range: start..end, sha256 })
    };
    let listed = manifest.list("rawFiles");
    let mut raws: Vec<Raw> = listed.iter().take(MAX_RAW).filter_map(one).collect();
    raws.sort_by_key(|raw| raw.range.start);
    let mut at = 0;
    raws.retain(|raw| {
        let is_right = raw.range.start >= at && raw.range.end <= len;
        if !is_right {
            let what = format!("boot loader at byte {}", raw.range.start);
            findings.bad(&what, "it lies beyond the end of the card, or over another one");
        }
        at = at.max(raw.range.end);
        is_right
    });
    raws
}

/// Compares the sectors of the table with what its partitions encode to; gives where the table ends.
fn own_sectors(disk: Shared<'_>, reading: &Reading, findings: &mut Findings) -> Result<Option<u64>, Error> {
    let bytes = reading.sector.bytes();
    let mut sector = vec![0; ints::to_usize(bytes)];
    match &reading.table {
        None => return Ok(None),
        Some(Table::Gpt(_)) => {
            disk.read_exact_at(&mut sector, 0).map_err(Error::Read)?;
            // Firmware with a BIOS would run it.
            code(&sector, findings);
            return Ok(Some(GPT_HEAD * bytes + GPT_ARRAY));
        }
        Some(table @ Table::Mbr(_)) => {
            disk.read_exact_at(&mut sector, 0).map_err(Error::Read)?;
            code(&sector, findings);
            // What cannot be encoded, such as logical partitions, is compared with the manifest elsewhere.
            let encoded = encode(table, disk.size(), SectorSize::S512);
            let encoded = encoded.ok().and_then(|parts| parts.into_iter().next());
            if encoded.is_some_and(|(_, right)| right[440..] != sector[440..]) {
                findings.uncovered("partition table", "it has other bytes than nixflash writes");
            }
        }
    }
    Ok(Some(bytes))
}

fn code(sector: &[u8], findings: &mut Findings) {
    if sector[..440].iter().any(|byte| *byte != 0) {
        findings.bad("partition table", "there is a boot loader in the first sector");
    }
}

/// Tells what lies between partitions.
fn gaps(
    disk: Shared<'_>,
    (mut at, reading): (u64, &Reading),
    raws: &[Raw],
    how: &How<'_>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let mut taken: Vec<Range<u64>> =
        reading.places().iter().map(|span| span.start..span.start.saturating_add(span.len)).collect();
    // What follows the last partition is the rest of the card, which nobody wrote.
    let end = taken.iter().map(|range| range.start).max().unwrap_or(at);
    taken.extend(raws.iter().map(|raw| raw.range.clone()));
    taken.sort_by_key(|range| range.start);
    let mut left = MAX_GAPS;
    for range in taken {
        let gap = at..range.start.min(end);
        at = at.max(range.end);
        let len = gap.end.saturating_sub(gap.start);
        if len == 0 {
            continue;
        }
        if len > left {
            findings.unjudged(format!("what lies between partitions from byte {} to {}", gap.start, gap.end));
            continue;
        }
        left -= len;
        let mut found = None;
        let read = each(disk, gap.clone(), how, &mut |bytes, offset| {
            found = bytes.iter().position(|byte| *byte != 0).map(|n| offset + ints::to_u64(n));
            found.is_none()
        })?;
        if let Some(why) = read {
            findings.bad("what lies between partitions", &why);
        }
        if let Some(found) = found {
            let how = format!("something was written outside of all partitions, at byte {found}");
            findings.bad("between partitions", &how);
        }
    }
    Ok(())
}

/// Gives bytes and their offset piece by piece, until told to stop; says why it cannot be read on.
fn each(
    disk: Shared<'_>,
    range: Range<u64>,
    how: &How<'_>,
    take: &mut dyn FnMut(&[u8], u64) -> bool,
) -> Result<Option<String>, Error> {
    let mut buffer = vec![0; ints::to_usize(CHUNK)];
    let mut at = range.start;
    while at < range.end {
        how.interrupted()?;
        let len = ints::to_usize(CHUNK.min(range.end - at));
        match disk.read_exact_at(&mut buffer[..len], at) {
            Ok(()) => {}
            Err(source) if crate::device::read_back::scan::is_gone(&source) => {
                return Err(Error::Read(source));
            }
            Err(source) => return Ok(Some(format!("cannot read at byte {at}: {source}"))),
        }
        if !take(&buffer[..len], at) {
            break;
        }
        at += ints::to_u64(len);
    }
    Ok(None)
}
