//! Which clusters nothing uses.

use super::boot::Boot;
use super::cache::Cached;
use super::error::Error;
use crate::ints;
use crate::stream::ReadAt;
use std::collections::VecDeque;

/// Bytes of a FAT that are read at once.
const SCAN: usize = 1 << 16;
/// Free clusters in a row: the first, and how many.
pub(crate) type Run = (u64, u64);

/// How many free runs are kept at most: the last ones.
const MAX_RUNS: usize = 1024;
/// The shortest free run that is kept, in bytes.
const MIN_RUN: u64 = 1 << 20;

/// Counts free clusters, and finds the last long runs of them.
pub(crate) fn find<R: ReadAt>(disk: &mut Cached<R>, boot: &Boot) -> Result<(u64, Vec<Run>), Error> {
    let width = boot.fat_type.entry_bytes();
    let start = boot.fat_start * boot.sector_bytes;
    let (mut at, end) = (2 * width, (u64::from(boot.clusters) + 2) * width);
    let (mut buf, mut free, mut cluster, mut run) = (vec![0; SCAN], 0, 2, 0);
    let mut runs = VecDeque::new();
    let mut end_run = |cluster: u64, run: u64| {
        if run * boot.cluster_bytes() >= MIN_RUN {
            if runs.len() == MAX_RUNS {
                runs.pop_front();
            }
            runs.push_back((cluster - run, run));
        }
    };
    while at < end {
        let len = ints::to_usize(end - at).min(SCAN);
        let offset = start + at;
        disk.read(&mut buf[..len], offset).map_err(|source| Error::Io { offset, source })?;
        for entry in buf[..len].chunks_exact(ints::to_usize(width)) {
            if boot.fat_type.entry(entry) == 0 {
                (free, run) = (free + 1, run + 1);
            } else {
                end_run(cluster, run);
                run = 0;
            }
            cluster += 1;
        }
        at += ints::to_u64(len);
    }
    end_run(cluster, run);
    Ok((free, runs.into()))
}
