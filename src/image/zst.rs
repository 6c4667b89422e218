//! Zstandard on all cores, in one frame with its content size and a checksum.
//!
//! The library cuts the image into jobs of [`JOB`] bytes and compresses them in parallel; the result depends on the
//! size of a job, not on who does it. A job that holds what is compressed already (firmware, kernel modules) is given
//! to the fastest level: a slow one would find no more in it.

use super::pack::{Encoder, window_log};
use crate::num;
use std::io::{self, Write};
use zstd::stream::raw::{CParameter, InBuffer, Operation, OutBuffer};

/// Bytes of a job.
const JOB: usize = 2 << 20;
/// Bytes compressed and not yet written.
const OUT: usize = 256 << 10;
/// The level for what is compressed already: fast, and as good there as any.
const FAST: i32 = -7;

/// Up to this level a job is exactly as long as was asked for; above, its overlap with the one before is longer.
const MAX_SWITCHED: i32 = 12;

/// Bytes of a sample, and how many are taken of a job.
const SAMPLE: usize = 4096;
const SAMPLES: usize = 32;
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
    let len = num::to_u64(len);
    let expected = len * len / 256 + len;
    Some(found * 100 < expected * 125)
}

/// Whether a job holds what is compressed or encrypted already: nearly all samples that tell look random.
fn is_dense(job: &[u8]) -> bool {
    let step = job.len() / SAMPLES;
    if step < SAMPLE {
        return false;
    }
    let told: Vec<bool> = (0..SAMPLES).filter_map(|n| is_random(&job[n * step..n * step + SAMPLE])).collect();
    let random = told.iter().filter(|random| **random).count();
    random >= SAMPLES / 2 && random * 8 >= told.len() * 7
}

/// The encoder.
pub struct Zst<W> {
    out: W,
    encoder: zstd::stream::raw::Encoder<'static>,
    level: i32,
    current: i32,
    job: Vec<u8>,
    packed: Vec<u8>,
}

impl<W: Write> Zst<W> {
    /// Begins a frame for `len` bytes.
    pub fn new(out: W, level: u32, len: u64, threads: u32) -> io::Result<Self> {
        let level = i32::try_from(level).unwrap_or(19);
        let mut encoder = zstd::stream::raw::Encoder::new(level)?;
        encoder.set_pledged_src_size(Some(len))?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        encoder.set_parameter(CParameter::ContentSizeFlag(true))?;
        // At least one worker: without, the library would not cut jobs and the bytes would differ.
        encoder.set_parameter(CParameter::NbWorkers(threads.max(1)))?;
        encoder.set_parameter(CParameter::JobSize(u32::try_from(JOB).unwrap_or(u32::MAX)))?;
        if let Some(window_log) = window_log(u32::try_from(level).unwrap_or(0)) {
            encoder.set_parameter(CParameter::WindowLog(window_log))?;
        }
        Ok(Self { out, encoder, level, current: level, job: Vec::with_capacity(JOB), packed: vec![0; OUT] })
    }

    /// Compresses a whole job, at the level that suits it.
    fn flush_job(&mut self) -> io::Result<()> {
        let job = std::mem::take(&mut self.job);
        let level = if self.level <= MAX_SWITCHED && is_dense(&job) { FAST } else { self.level };
        let mut rest = &job[..];
        if level != self.current {
            // A level holds for jobs that are cut after it was set. The first byte of this job is accepted only when
            // the job before has been cut: from then on the level is this job's, however the workers are timed.
            let (first, later) = rest.split_at(rest.len().min(1));
            self.feed(first)?;
            rest = later;
            self.encoder.set_parameter(CParameter::CompressionLevel(level))?;
            self.current = level;
        }
        self.feed(rest)?;
        self.job = job;
        self.job.clear();
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
            let (now, later) = bytes.split_at(bytes.len().min(JOB - self.job.len()));
            self.job.extend_from_slice(now);
            bytes = later;
            if self.job.len() == JOB {
                self.flush_job()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush_job()?;
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
