//! The directory at the end of a zip archive, read where any byte of the archive can be.

use super::read_at::ReadAt;
use super::zip::{END, ENTRY, LOCATOR_64, le16, le32, le64};
use crate::ints;
use std::io;

/// The longest directory that is read, in bytes.
const MAX_DIRECTORY: u64 = 16 << 20;

/// How far from the end the record of the end may lie: its 22 bytes and the longest comment.
const END_REACH: u64 = 22 + 65535;

/// The names of the files in the directory at the end of an archive, directories left out; `None` where there is no such
/// directory that can be read.
pub(crate) fn names(archive: &dyn ReadAt) -> io::Result<Option<Vec<Vec<u8>>>> {
    let len = archive.size();
    let from = len.saturating_sub(END_REACH);
    let mut end = vec![0; ints::to_usize(len - from)];
    archive.read_exact_at(&mut end, from)?;
    let Some(at) = end.windows(22).rposition(|window| window.starts_with(&END)) else { return Ok(None) };
    let record = &end[at..];
    let (mut size, mut start) = (u64::from(le32(&record[12..])), u64::from(le32(&record[16..])));
    if (size, start) == (u32::MAX.into(), u32::MAX.into()) || start == u64::from(u32::MAX) {
        // The locator of 20 bytes before it: disk u32 behind the signature, then where the wide record is.
        let Some(locator) = at.checked_sub(20).map(|at| &end[at..]) else { return Ok(None) };
        let wide = le64(&locator[8..]);
        let mut record = [0; 56];
        if !locator.starts_with(&LOCATOR_64) || wide.checked_add(56).is_none_or(|end| end > len) {
            return Ok(None);
        }
        archive.read_exact_at(&mut record, wide)?;
        (size, start) = (le64(&record[40..]), le64(&record[48..]));
    }
    if size > MAX_DIRECTORY || start.checked_add(size).is_none_or(|end| end > len) {
        return Ok(None);
    }
    let mut directory = vec![0; ints::to_usize(size)];
    archive.read_exact_at(&mut directory, start)?;
    let (mut rest, mut names) = (&directory[..], Vec::new());
    while let Some((head, tail)) = rest.split_at_checked(46).filter(|(head, _)| head.starts_with(&ENTRY)) {
        let lens = [28, 30, 32].map(|at| usize::from(le16(&head[at..])));
        let Some(name) = tail.get(..lens[0]) else { return Ok(None) };
        if !name.ends_with(b"/") {
            names.push(name.to_vec());
        }
        let Some(next) = tail.get(lens.iter().sum()..) else { return Ok(None) };
        rest = next;
    }
    Ok(Some(names))
}
