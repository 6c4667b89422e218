//! Reads both copies of a GPT.

use super::read::{Disk, Place, ReadError, check_places, guid, le32, le64};
use super::{GPT_ENTRY, GPT_HEADER, GPT_MAGIC, Gpt, GptCopy, GptPartition, HeaderFault, Problem};
use crate::num;

/// The most bytes of entries that are read: 8192 partitions of the usual size.
const MAX_ENTRIES: u64 = 1 << 20;
/// The longest entry that is read.
const MAX_ENTRY: u32 = 4096;
/// Where the primary header is.
pub(crate) const PRIMARY_LBA: u64 = 1;

/// What was found.
pub(crate) struct Found {
    pub gpt: Option<Gpt>,
    pub problems: Vec<Problem>,
}

/// A sound copy.
struct Sound {
    gpt: Gpt,
    /// Where it says the other copy is.
    other: u64,
    problems: Vec<Problem>,
}

/// Reads a GPT. The backup alone counts only when the MBR says that there is a GPT: else it may be of an earlier life.
pub(crate) fn read(disk: &Disk<'_>, is_protected: bool) -> Result<Found, ReadError> {
    let last = disk.sectors().saturating_sub(1);
    let primary = copy(disk, PRIMARY_LBA)?;
    if primary.is_err() && !is_protected {
        return Ok(Found { gpt: None, problems: Vec::new() });
    }
    let mut problems = Vec::new();
    let (backup, lba) = match &primary {
        Ok(primary) => backup_of(disk, primary.other, last)?,
        Err(_) => (copy(disk, last)?, last),
    };
    for (which, lba, result) in [(GptCopy::Primary, PRIMARY_LBA, &primary), (GptCopy::Backup, lba, &backup)] {
        problems.extend(result.as_ref().err().map(|fault| Problem::Header {
            copy: which,
            lba,
            fault: *fault,
        }));
    }
    if backup.is_ok() && lba != last {
        problems.push(Problem::BackupElsewhere { lba, last });
    }
    if let (Ok(primary), Ok(backup)) = (&primary, &backup) {
        problems.extend((primary.gpt != backup.gpt).then_some(Problem::CopiesDiffer));
    }
    let Ok(sound) = primary.or(backup) else { return Ok(Found { gpt: None, problems }) };
    problems.extend(sound.problems);
    Ok(Found { gpt: Some(sound.gpt), problems })
}

/// The backup, looked for where the primary says and then at the end.
fn backup_of(disk: &Disk<'_>, said: u64, last: u64) -> Result<(Result<Sound, HeaderFault>, u64), ReadError> {
    let there = if said == PRIMARY_LBA { Err(HeaderFault::Missing) } else { copy(disk, said)? };
    if there.is_ok() || said == last {
        return Ok((there, said));
    }
    let at_end = copy(disk, last)?;
    Ok(if at_end.is_ok() { (at_end, last) } else { (there, said) })
}

/// Reads the copy whose header is at a sector.
fn copy(disk: &Disk<'_>, lba: u64) -> Result<Result<Sound, HeaderFault>, ReadError> {
    let header = match disk.sector(lba)? {
        Some(header) if header.starts_with(GPT_MAGIC) => header,
        _ => return Ok(Err(HeaderFault::Missing)),
    };
    if let Err(fault) = check_header(&header, lba) {
        return Ok(Err(fault));
    }
    let (at, count, size) = (le64(&header, 72), le32(&header, 80), le32(&header, 84));
    let len = u64::from(count) * u64::from(size);
    if !(GPT_ENTRY..=MAX_ENTRY).contains(&size) || !size.is_power_of_two() || len > MAX_ENTRIES {
        return Ok(Err(HeaderFault::Entries { count, size }));
    }
    let Some(entries) = disk.bytes(at, len)? else { return Ok(Err(HeaderFault::EntriesOutside(at))) };
    if crc32fast::hash(&entries) != le32(&header, 88) {
        return Ok(Err(HeaderFault::EntriesChecksum));
    }
    Ok(Ok(parse(disk, &header, &entries, num::to_usize(u64::from(size)))))
}

fn check_header(header: &[u8], lba: u64) -> Result<(), HeaderFault> {
    let size = le32(header, 12);
    let covered = header.get(..num::to_usize(u64::from(size))).filter(|_| size >= GPT_HEADER);
    let mut covered = covered.ok_or(HeaderFault::Size(size))?.to_vec();
    // The sum is over the header with its own field zero.
    covered[16..20].fill(0);
    if crc32fast::hash(&covered) != le32(header, 16) {
        return Err(HeaderFault::Checksum);
    }
    match le64(header, 24) {
        own if own == lba => Ok(()),
        own => Err(HeaderFault::Place(own)),
    }
}

/// Makes partitions of entries whose sum is right.
fn parse(disk: &Disk<'_>, header: &[u8], entries: &[u8], size: usize) -> Sound {
    let (mut partitions, mut places, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    let (first, end) = (le64(header, 40), le64(header, 48).min(disk.sectors().saturating_sub(1)));
    for (number, entry) in (1..).zip(entries.chunks_exact(size)) {
        let type_guid = guid(entry, 0);
        let (start, last) = (le64(entry, 32), le64(entry, 40));
        if type_guid.is_nil() {
            continue;
        }
        if last < start {
            problems.push(Problem::Reversed { number, start, last });
            continue;
        }
        if last.checked_add(1).and_then(|end| end.checked_mul(disk.sector_bytes())).is_none() {
            problems.push(Problem::Outside { number, start, last, first, end });
            continue;
        }
        let place: Place = (number, start, last);
        places.push(place);
        let units = entry[56..128].as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit));
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        let name = String::from_utf16(&units).unwrap_or_else(|_| {
            problems.push(Problem::Name(number));
            String::from_utf16_lossy(&units)
        });
        let (unique_guid, attributes) = (guid(entry, 16), le64(entry, 48));
        let sectors = last - start + 1;
        partitions.push(GptPartition { number, start, sectors, type_guid, unique_guid, name, attributes });
    }
    check_places(&places, first, end, &mut problems);
    Sound { gpt: Gpt { disk_guid: guid(header, 56), partitions }, other: le64(header, 32), problems }
}
