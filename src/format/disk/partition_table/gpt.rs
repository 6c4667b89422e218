//! Reads both copies of a GPT.

use super::disk::{Disk, ReadError};
use super::gpt_header::{self, ENTRY_LEN, MAGIC, PRIMARY_LBA, guid};
use super::place;
use super::problem::{GptCopy, HeaderFault, Problem};
use super::table::{Gpt, GptPartition};
use crate::ints;

/// The most bytes of entries that are read: 8192 partitions of the usual size.
const MAX_ENTRIES: u64 = 1 << 20;
/// The longest entry that is read.
const MAX_ENTRY: u32 = 4096;

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
        Some(header) if gpt_header::SIGNATURE.get(&header) == *MAGIC => header,
        _ => return Ok(Err(HeaderFault::Missing)),
    };
    if let Err(fault) = check_header(&header, lba) {
        return Ok(Err(fault));
    }
    let at = gpt_header::PARTITION_ENTRY_LBA.get(&header);
    let count = gpt_header::NUMBER_OF_PARTITION_ENTRIES.get(&header);
    let size = gpt_header::SIZE_OF_PARTITION_ENTRY.get(&header);
    let len = u64::from(count) * u64::from(size);
    if !(ENTRY_LEN..=MAX_ENTRY).contains(&size) || !size.is_power_of_two() || len > MAX_ENTRIES {
        return Ok(Err(HeaderFault::Entries { count, size }));
    }
    let Some(entries) = disk.bytes(at, len)? else { return Ok(Err(HeaderFault::EntriesOutside(at))) };
    if crc32fast::hash(&entries) != gpt_header::PARTITION_ENTRY_ARRAY_CRC32.get(&header) {
        return Ok(Err(HeaderFault::EntriesChecksum));
    }
    Ok(Ok(parse(disk, &header, &entries, ints::to_usize(u64::from(size)))))
}

fn check_header(header: &[u8], lba: u64) -> Result<(), HeaderFault> {
    let size = gpt_header::HEADER_SIZE.get(header);
    let sum = gpt_header::sum(header, size).ok_or(HeaderFault::Size(size))?;
    if sum != gpt_header::HEADER_CRC32.get(header) {
        return Err(HeaderFault::Checksum);
    }
    match gpt_header::MY_LBA.get(header) {
        own if own == lba => Ok(()),
        own => Err(HeaderFault::Place(own)),
    }
}

/// Makes partitions of entries whose sum is right.
fn parse(disk: &Disk<'_>, header: &[u8], entries: &[u8], size: usize) -> Sound {
    let (mut partitions, mut problems) = (Vec::new(), Vec::new());
    let first = gpt_header::FIRST_USABLE_LBA.get(header);
    let end = gpt_header::LAST_USABLE_LBA.get(header).min(disk.sectors().saturating_sub(1));
    for (number, entry) in (1..).zip(entries.chunks_exact(size)) {
        let type_guid = guid(gpt_header::PARTITION_TYPE_GUID, entry);
        let (start, last) = (gpt_header::STARTING_LBA.get(entry), gpt_header::ENDING_LBA.get(entry));
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
        let units = gpt_header::PARTITION_NAME.get(entry);
        let units = units.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit));
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        let name = String::from_utf16(&units).unwrap_or_else(|_| {
            problems.push(Problem::Name(number));
            String::from_utf16_lossy(&units)
        });
        let unique_guid = guid(gpt_header::UNIQUE_PARTITION_GUID, entry);
        let attributes = gpt_header::ATTRIBUTES.get(entry);
        let sectors = last - start + 1;
        partitions.push(GptPartition { number, start, sectors, type_guid, unique_guid, name, attributes });
    }
    let places: Vec<_> = partitions.iter().map(GptPartition::place).collect();
    place::check(&places, first, end, &mut problems);
    let disk_guid = guid(gpt_header::DISK_GUID, header);
    Sound { gpt: Gpt { disk_guid, partitions }, other: gpt_header::ALTERNATE_LBA.get(header), problems }
}
