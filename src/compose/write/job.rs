//! How an image is cut into jobs, and how one is done.

use super::in_place::Settled;
use super::out::{MoveError, Out};
use crate::compose::closure;
use crate::compose::closure::Origin;
use crate::compose::content::Content;
use crate::compose::error::Error;
use crate::compose::plan::image::Image;
use crate::extent::{Extent, Fill, MAX_ENCODED};
use crate::format::nix::listing;
use crate::ints;
use crate::store::Payload;
use std::ops::Range;

/// The most bytes that a job without a source covers.
const PLAIN_JOB: u64 = 4 << 20;

/// A run of extents of one part, with at most one source of contents.
#[derive(Clone, Debug)]
pub struct Job {
    part: usize,
    extents: Range<usize>,
    source: Option<u32>,
}

/// Cuts an image into jobs, in ascending order, without what is settled; sources of which nothing is on the card get a job
/// of their own, so that they are verified too.
pub fn jobs(image: &Image, settled: &Settled) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut seen = settled.sources.clone();
    seen.resize(image.sources.len(), false);
    for (part, at) in image.parts.iter().zip(0..) {
        let mut cutter = Cutter { part: at, start: 0, source: None, last: (0, 0), bytes: 0 };
        let extents = part.layout.extents();
        for (index, extent) in extents.iter().enumerate() {
            let is_settled = settled.has(at, index);
            if (is_settled || cutter.must_cut(extent)) && index > cutter.start {
                jobs.push(cutter.cut(index));
            }
            if is_settled {
                cutter.start = index + 1;
                continue;
            }
            cutter.take(extent);
            if let Some(source) = cutter.source {
                seen[ints::to_usize(u64::from(source))] = true;
            }
        }
        if extents.len() > cutter.start {
            jobs.push(cutter.cut(extents.len()));
        }
    }
    for (source, _) in (0u32..).zip(seen).filter(|(_, seen)| !seen) {
        jobs.push(Job { part: 0, extents: 0..0, source: Some(source) });
    }
    jobs
}

struct Cutter {
    part: usize,
    start: usize,
    source: Option<u32>,
    /// The file that was taken last, and the byte behind what was taken: a payload gives nothing twice.
    last: (u32, u64),
    bytes: u64,
}

impl Cutter {
    fn must_cut(&self, extent: &Extent<Content>) -> bool {
        match (extent.fill, self.source) {
            (Fill::Content { content: Content::Packed { source, file }, at, .. }, Some(current)) => {
                source != current || (file, at) < self.last
            }
            (Fill::Content { content: Content::Packed { .. }, .. }, None) => self.bytes > 0,
            (_, None) => self.bytes >= PLAIN_JOB,
            (_, Some(_)) => false,
        }
    }

    fn take(&mut self, extent: &Extent<Content>) {
        self.bytes += extent.len;
        if let Fill::Content { content: Content::Packed { source, file }, at, len } = extent.fill {
            self.source = Some(source);
            self.last = (file, at + len);
        }
    }

    fn cut(&mut self, end: usize) -> Job {
        let job = Job { part: self.part, extents: self.start..end, source: self.source };
        *self = Self { part: self.part, start: end, source: None, last: (0, 0), bytes: 0 };
        job
    }
}

/// Renders, reads and verifies all that a job covers.
pub fn run(image: &Image, job: &Job, scratch: &mut Vec<u8>, out: &mut dyn Out) -> Result<(), MoveError> {
    let result = move_contents(image, job, scratch, out);
    let Some(at) = job.source.map(|source| ints::to_usize(u64::from(source))) else { return result };
    let packed = &image.sources[at];
    if let Origin::Store(store) = packed.origin {
        // What a store gave is judged here, where all of it has passed.
        match &result {
            Ok(()) => image.stores[store].confirm(&packed.info.path, &|| listing::encode(&image.trees[at])),
            Err(MoveError::Source(Error::Store(error))) if error.is_bad_source() => {
                image.stores[store].refute(&packed.info.path).map_err(Error::from)?;
            }
            Err(_) => {}
        }
    }
    result
}

fn move_contents(
    image: &Image,
    job: &Job,
    scratch: &mut Vec<u8>,
    out: &mut dyn Out,
) -> Result<(), MoveError> {
    let part = &image.parts[job.part];
    let mut cursor = match job.source {
        Some(source) => {
            let at = ints::to_usize(u64::from(source));
            Some(Cursor::new(closure::open(&image.stores, &image.sources[at], &image.trees[at])?))
        }
        None => None,
    };
    for index in job.extents.clone() {
        let extent = &part.layout.extents()[index];
        let offset = part.offset + extent.offset;
        let written = match extent.fill {
            Fill::Zeros => 0,
            Fill::Encoded => {
                debug_assert!(extent.len <= MAX_ENCODED);
                scratch.resize(ints::to_usize(extent.len), 0);
                part.layout.encode(index, scratch);
                out.bytes(offset, scratch)?;
                extent.len
            }
            Fill::Content { content: Content::Literal(literal), at, len } => {
                let from = ints::to_usize(at);
                out.bytes(offset, &image.literals.get(literal)[from..from + ints::to_usize(len)])?;
                len
            }
            Fill::Content { content: Content::Packed { file, .. }, at, len } => {
                // cannot fail: a job with packed contents has a source
                let cursor = cursor.as_mut().expect("the job names its source");
                cursor.copy(file, Slice { at, len }, offset, out)?;
                len
            }
        };
        if extent.len > written {
            out.zeros(offset + written, extent.len - written)?;
        }
    }
    match cursor {
        Some(cursor) => cursor.finish(),
        None => Ok(()),
    }
}

/// A part of a file, in bytes.
#[derive(Clone, Copy)]
struct Slice {
    at: u64,
    len: u64,
}

/// Where a worker is in the contents of a source.
struct Cursor<'a> {
    payload: Payload<'a, Content>,
    /// The file that was opened last, and how many of its bytes were taken.
    file: Option<u32>,
    taken: u64,
}

impl<'a> Cursor<'a> {
    const fn new(payload: Payload<'a, Content>) -> Self {
        Self { payload, file: None, taken: 0 }
    }

    fn copy(&mut self, file: u32, slice: Slice, offset: u64, out: &mut dyn Out) -> Result<(), MoveError> {
        let Slice { at, len } = slice;
        while self.file != Some(file) {
            // The payload compares itself with the planned tree, so that it cannot end before this file.
            self.payload.next_file().map_err(Error::from)?;
            self.file = Some(self.file.map_or(0, |n| n + 1));
            self.taken = 0;
        }
        let mut done = 0;
        while done < len {
            let chunk = self.payload.chunk().map_err(Error::from)?;
            // cannot fail: the payload compares itself with the planned tree, and jobs go forward only
            assert!(!chunk.is_empty(), "a file ends before what is planned of it");
            let skip = (at - self.taken.min(at)).min(ints::to_u64(chunk.len()));
            let take = (ints::to_u64(chunk.len()) - skip).min(len - done);
            let (skip, take) = (ints::to_usize(skip), ints::to_usize(take));
            out.bytes(offset + done, &chunk[skip..skip + take])?;
            self.payload.consume(skip + take);
            self.taken += ints::to_u64(skip + take);
            done += ints::to_u64(take);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), MoveError> {
        while self.payload.next_file().map_err(Error::from)?.is_some() {}
        self.payload.finish().map_err(|e| Error::from(e).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_copied_twice_in_a_row_is_opened_twice() {
        let piece = |file, at, len| Extent {
            offset: 0,
            len: 4096,
            fill: Fill::Content { content: Content::Packed { source: 1, file }, at, len },
        };
        let mut cutter = Cutter { part: 0, start: 0, source: None, last: (0, 0), bytes: 0 };
        cutter.take(&piece(2, 0, 4096));
        assert!(!cutter.must_cut(&piece(2, 4096, 100)), "what comes next in the file");
        assert!(!cutter.must_cut(&piece(3, 0, 100)), "the next file");
        assert!(cutter.must_cut(&piece(2, 0, 4096)), "the same bytes again");
        assert!(cutter.must_cut(&piece(2, 4095, 1)), "a byte that has passed");
        assert!(cutter.must_cut(&piece(1, 0, 100)), "a file that has passed");
    }
}
