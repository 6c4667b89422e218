//! Zstandard on all cores, in one frame with its content size and a checksum.
//!
//! The library cuts the image into jobs of [`JOB`] bytes and compresses them in parallel; the result depends on the
//! size of a job, not on who does it. Above level 3 a job that holds what is compressed already (firmware, kernel modules)
//! is given to the fastest level: a slow one would find no more in it.

use super::encoder::Encoder;
use crate::ints;
use std::io::{self, Write};
use zstd::stream::raw::{CParameter, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::Strategy;

/// The largest window of a frame, as a power of two: 8 MiB, what every decoder accepts.
const WINDOW_LOG: u32 = 23;
/// Bytes of a job.
const JOB: usize = 6 << 20;
/// Bytes compressed and not yet written.
const OUT: usize = 256 << 10;
/// The level for what is compressed already: fast, and as good there as any.
const FAST: i32 = -7;

/// Level 3 in another way: the match finder of levels 1 and 2, which looks each place up in one table and not in two, but in
/// the largest window that every decoder accepts, four times that of `zstd -3`. What it misses nearby it finds farther away:
/// the same length for a fifth less time (`docs/measured.md`).
const LEVEL_3: [CParameter; 4] = [
    CParameter::Strategy(Strategy::ZSTD_fast),
    CParameter::HashLog(17),
    CParameter::MinMatch(6),
    CParameter::WindowLog(WINDOW_LOG),
];

/// The levels at which jobs are judged. Up to 3 that would save nothing: the fast match finder leaves quickly what has no
/// matches. Beyond, a job is longer than was asked for, by its overlap with the one before.
const JUDGED: std::ops::RangeInclusive<i32> = 4..=12;

/// The window of a level that would have a larger one: it stays within what every decoder accepts.
const fn window_log(level: u32) -> Option<u32> {
    // Levels up to 15 have windows of 4 MiB at most.
    if level >= 16 { Some(WINDOW_LOG) } else { None }
}

/// Bytes of a sample, and how many are taken of a job.
const SAMPLE: usize = 4096;
const SAMPLES: usize = 32;
/// Bytes from one sample to the next.
const STEP: usize = JOB / SAMPLES;
/// Whether a sample looks random: the squared counts of its byte values sum up to about what is expected of random
/// bytes; programs and text have twice that and more. Zeros behind the end of a file do not count. `None` when too
/// little is left to tell.
fn is_random(sample: &[u8]) -> Option<bool> {
    let len = sample.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if len < 256 {
        return None;
    }
    let mut counts = [0u64; 256];
    for byte in &sample[..len] {
        counts[usize::from(*byte)] += 1;
    }
    let found: u64 = counts.iter().map(|count| count * count).sum();
    let len = ints::to_u64(len);
    let expected = len * len / 256 + len;
    Some(found * 100 < expected * 125)
}

/// Looks at the bytes of a job as they pass.
struct Sampler {
    sample: Vec<u8>,
    random: usize,
    told: usize,
}

impl Sampler {
    /// Takes the bytes that begin at `position` of the job.
    fn pass(&mut self, mut position: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = position % STEP;
            let end = if within < SAMPLE { SAMPLE } else { STEP };
            let (now, later) = bytes.split_at(bytes.len().min(end - within));
            if within < SAMPLE {
                self.sample.extend_from_slice(now);
                if within + now.len() == SAMPLE {
                    self.judge();
                }
            }
            position += now.len();
            bytes = later;
        }
    }

    fn judge(&mut self) {
        if let Some(random) = is_random(&self.sample) {
            self.told += 1;
            self.random += usize::from(random);
        }
        self.sample.clear();
    }

    /// Whether the job holds what is compressed or encrypted already: nearly all samples that tell look random.
    fn is_dense(&self) -> bool {
        self.random >= SAMPLES / 2 && self.random * 5 >= self.told * 4
    }
}

/// One frame, compressed job by job.
pub struct Zst<W> {
    out: W,
    encoder: zstd::stream::raw::Encoder<'static>,
    level: i32,
    current: i32,
    /// How far the current job is.
    position: usize,
    sampler: Sampler,
    packed: Vec<u8>,
}

impl<W: Write> Zst<W> {
    /// Begins a frame for `len` bytes.
    pub fn new(out: W, level: u32, len: u64, threads: u32) -> io::Result<Self> {
        let window_log = window_log(level);
        let tuned: &[CParameter] = if level == 3 { &LEVEL_3 } else { &[] };
        let level = i32::try_from(level).unwrap_or(19);
        let mut encoder = zstd::stream::raw::Encoder::new(level)?;
        for parameter in tuned {
            encoder.set_parameter(*parameter)?;
        }
        encoder.set_pledged_src_size(Some(len))?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        encoder.set_parameter(CParameter::ContentSizeFlag(true))?;
        // At least one worker: without, the library would not cut jobs and the bytes would differ.
        encoder.set_parameter(CParameter::NbWorkers(threads.max(1)))?;
        encoder.set_parameter(CParameter::JobSize(u32::try_from(JOB).unwrap_or(u32::MAX)))?;
        if let Some(window_log) = window_log {
            encoder.set_parameter(CParameter::WindowLog(window_log))?;
        }
        let sampler = Sampler { sample: Vec::with_capacity(SAMPLE), random: 0, told: 0 };
        Ok(Self { out, encoder, level, current: level, position: 0, sampler, packed: vec![0; OUT] })
    }

    /// Ends a job with its last bytes. The library takes the level when it cuts a job, which the last byte makes it do;
    /// the bytes before were accepted, so the job before is cut: the level is this job's, however workers are timed.
    fn end_job(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (before, last) = bytes.split_at(bytes.len() - 1);
        self.feed(before)?;
        let dense = JUDGED.contains(&self.level) && self.sampler.is_dense();
        self.set_level(if dense { FAST } else { self.level })?;
        self.feed(last)?;
        self.position = 0;
        (self.sampler.random, self.sampler.told) = (0, 0);
        Ok(())
    }

    fn set_level(&mut self, level: i32) -> io::Result<()> {
        if level != self.current {
            self.encoder.set_parameter(CParameter::CompressionLevel(level))?;
            self.current = level;
        }
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            let mut output = OutBuffer::around(&mut self.packed[..]);
            self.encoder.run(&mut input, &mut output)?;
            let len = output.pos();
            self.out.write_all(&self.packed[..len])?;
        }
        Ok(())
    }
}

impl<W: Write> Encoder for Zst<W> {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(JOB - self.position));
            if JUDGED.contains(&self.level) {
                self.sampler.pass(self.position, now);
            }
            self.position += now.len();
            if self.position == JOB {
                self.end_job(now)?;
            } else {
                self.feed(now)?;
            }
            bytes = later;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if self.position > 0 {
            self.set_level(self.level)?;
        }
        loop {
            let mut output = OutBuffer::around(&mut self.packed[..]);
            let left = self.encoder.finish(&mut output, true)?;
            let len = output.pos();
            self.out.write_all(&self.packed[..len])?;
            if left == 0 {
                return self.out.flush();
            }
        }
    }
}
