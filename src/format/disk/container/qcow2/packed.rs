//! A qcow2 whose clusters are packed: they come first, without gaps, and the tables behind them.
//!
//! ```text
//! header, written last | packed and plain clusters in the order of the disk | L2 tables | L1 | refcount blocks | refcount table
//! ```

use super::ondisk;
use super::ondisk::{
    CLUSTER, CLUSTER_BITS_WRITTEN, COPIED, Compression, PACKED, Places, SECTOR, packed_bits,
};
use crate::ints;
use std::collections::BTreeMap;

/// Entries of an L2 table, and counts of a refcount block.
const L2: u64 = CLUSTER / 8;
const COUNTS: u64 = CLUSTER / 2;

/// What the tables will say, cluster by cluster.
#[derive(Debug)]
pub struct Packed {
    size: u64,
    compression: Compression,
    end: u64,
    tables: BTreeMap<u64, Vec<u64>>,
    /// How often each cluster of the file is used.
    counts: Vec<u16>,
}

/// Bytes for a place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// In bytes from the start.
    pub at: u64,
    /// What.
    pub bytes: Vec<u8>,
}

impl Packed {
    /// Begins a disk of `size` bytes, a multiple of 512.
    #[must_use]
    pub fn new(size: u64, compression: Compression) -> Self {
        Self { size, compression, end: CLUSTER, tables: BTreeMap::new(), counts: vec![1] }
    }

    /// The place of a packed cluster that has `len` bytes, less than a cluster.
    pub fn packed(&mut self, cluster: u64, len: u64) -> u64 {
        let at = self.end;
        let last = at + len - 1;
        let more = last / SECTOR - at / SECTOR;
        let (offset_bits, _) = packed_bits(CLUSTER_BITS_WRITTEN);
        self.enter(cluster, PACKED | more << offset_bits | at);
        // Whole sectors are used, so that the one behind the last byte is too.
        let end_of_last = last / SECTOR * SECTOR + SECTOR - 1;
        self.count(at / CLUSTER, end_of_last / CLUSTER);
        self.end = at + len;
        at
    }

    /// The place of a cluster that is stored as it is.
    pub fn plain(&mut self, cluster: u64) -> u64 {
        let at = self.whole();
        self.enter(cluster, at | COPIED);
        at
    }

    fn enter(&mut self, cluster: u64, entry: u64) {
        let table = self.tables.entry(cluster / L2).or_insert_with(|| vec![0; ints::to_usize(L2)]);
        table[ints::to_usize(cluster % L2)] = entry;
    }

    fn count(&mut self, first: u64, last: u64) {
        let last = ints::to_usize(last);
        if self.counts.len() <= last {
            self.counts.resize(last + 1, 0);
        }
        for count in &mut self.counts[ints::to_usize(first)..=last] {
            *count += 1;
        }
    }

    /// A cluster of the file for itself.
    fn whole(&mut self) -> u64 {
        let at = self.end.next_multiple_of(CLUSTER);
        self.count(at / CLUSTER, at / CLUSTER);
        self.end = at + CLUSTER;
        at
    }

    fn write(&mut self, numbers: &[u64]) -> Vec<Write> {
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        bytes.resize(bytes.len().next_multiple_of(ints::to_usize(CLUSTER)), 0);
        bytes
            .chunks(ints::to_usize(CLUSTER))
            .map(|chunk| Write { at: self.whole(), bytes: chunk.to_vec() })
            .collect()
    }

    /// The tables, to be written one after the other, the header last; and the length of the file. `None` where the disk
    /// is longer than a qcow2 can be.
    #[must_use]
    pub fn finish(mut self) -> Option<(Vec<Write>, u64)> {
        let mut l1 = vec![0; ints::to_usize(self.size.div_ceil(CLUSTER * L2))];
        let mut writes = Vec::new();
        for (number, table) in std::mem::take(&mut self.tables) {
            let written = self.write(&table);
            l1[ints::to_usize(number)] = written.first()?.at | COPIED;
            writes.extend(written);
        }
        let l1_entries = u32::try_from(l1.len()).ok()?;
        let l1 = self.write(&l1);
        let l1_at = l1.first().map_or(0, |write| write.at);
        writes.extend(l1);
        // The counts count themselves: the first number that is enough for itself.
        let rest = self.end.div_ceil(CLUSTER);
        let (mut blocks, mut table) = (0, 0);
        loop {
            let clusters = rest + blocks + table;
            let enough = (clusters.div_ceil(COUNTS), (clusters.div_ceil(COUNTS) * 8).div_ceil(CLUSTER));
            if enough == (blocks, table) {
                break;
            }
            (blocks, table) = enough;
        }
        let first = self.end.next_multiple_of(CLUSTER);
        self.count(first / CLUSTER, first / CLUSTER + blocks + table - 1);
        let counts: Vec<u8> = self.counts.iter().flat_map(|count| count.to_be_bytes()).collect();
        for (number, chunk) in (0..).zip(counts.chunks(ints::to_usize(CLUSTER))) {
            let mut bytes = chunk.to_vec();
            bytes.resize(ints::to_usize(CLUSTER), 0);
            writes.push(Write { at: first + number * CLUSTER, bytes });
        }
        let refcount_table = first + blocks * CLUSTER;
        let mut bytes: Vec<u8> =
            (0..blocks).flat_map(|number| (first + number * CLUSTER).to_be_bytes()).collect();
        bytes.resize(ints::to_usize(table * CLUSTER), 0);
        writes.push(Write { at: refcount_table, bytes });
        let refcount_table_clusters = u32::try_from(table).ok()?;
        let places =
            Places { size: self.size, l1_entries, l1: l1_at, refcount_table, refcount_table_clusters };
        writes.push(Write { at: 0, bytes: ondisk::header(&places, self.compression) });
        Some((writes, refcount_table + table * CLUSTER))
    }
}
