//! A qcow2 whose clusters are stored as they are: all tables come first, so that it can go into a pipe.
//!
//! ```text
//! header | refcount table | refcount blocks | L1 | L2 tables that are used | clusters in the order of the disk
//! ```

use super::ondisk;
use super::ondisk::{CLUSTER, COPIED, Compression, Places};
use crate::format::disk::container::head::{Head, Part};
use crate::format::disk::container::stored::Stored;
use crate::ints;
use std::ops::Range;

/// Entries of an L2 table, and counts of a refcount block.
const L2: u64 = CLUSTER / 8;
const COUNTS: u64 = CLUSTER / 2;

/// The plan of one.
#[derive(Debug)]
pub struct Plain {
    stored: Stored,
    refcount_table_clusters: u64,
    refcount_blocks: u64,
    l1_clusters: u64,
    /// Numbers of the L2 tables that are used.
    l2: Vec<u64>,
    clusters: u64,
    places: Places,
}

impl Plain {
    /// Plans a disk of `size` bytes, a multiple of 512, of which `data` is stored. `None` where it is longer than a qcow2
    /// can be.
    #[must_use]
    pub fn new(size: u64, data: &[Range<u64>]) -> Option<Self> {
        let stored = Stored::new(size, CLUSTER, data);
        let tables = stored.blocks().div_ceil(L2);
        let l2: Vec<u64> = used(&stored).collect();
        let l1_clusters = (tables * 8).div_ceil(CLUSTER);
        let rest = 1 + l1_clusters + ints::to_u64(l2.len()) + stored.count();
        // The counts count themselves: the first number that is enough for itself.
        let (mut refcount_blocks, mut refcount_table_clusters) = (0, 0);
        let clusters = loop {
            let clusters = rest + refcount_table_clusters + refcount_blocks;
            let enough = (clusters.div_ceil(COUNTS), (clusters.div_ceil(COUNTS) * 8).div_ceil(CLUSTER));
            if enough == (refcount_blocks, refcount_table_clusters) {
                break clusters;
            }
            (refcount_blocks, refcount_table_clusters) = enough;
        };
        let places = Places {
            size,
            l1_entries: u32::try_from(tables).ok()?,
            l1: (1 + refcount_table_clusters + refcount_blocks) * CLUSTER,
            refcount_table: CLUSTER,
            refcount_table_clusters: u32::try_from(refcount_table_clusters).ok()?,
        };
        Some(Self { stored, refcount_table_clusters, refcount_blocks, l1_clusters, l2, clusters, places })
    }

    fn first_l2(&self) -> u64 {
        1 + self.refcount_table_clusters + self.refcount_blocks + self.l1_clusters
    }

    fn refcount_table(&self) -> Vec<u8> {
        let first = 1 + self.refcount_table_clusters;
        padded((0..self.refcount_blocks).map(|n| (first + n) * CLUSTER), self.refcount_table_clusters)
    }

    /// Every cluster of the file is used once.
    fn refcount_block(&self, number: u64) -> Vec<u8> {
        let used = COUNTS.min(self.clusters - number * COUNTS);
        let mut block = [0, 1].repeat(ints::to_usize(used));
        block.resize(ints::to_usize(CLUSTER), 0);
        block
    }

    fn l1(&self) -> Vec<u8> {
        let mut entries = vec![0; ints::to_usize(u64::from(self.places.l1_entries))];
        for (cluster, table) in (self.first_l2()..).zip(&self.l2) {
            entries[ints::to_usize(*table)] = (cluster * CLUSTER) | COPIED;
        }
        padded(entries.into_iter(), self.l1_clusters)
    }

    fn l2(&self, table: u64) -> Vec<u8> {
        let first = self.first_l2() + ints::to_u64(self.l2.len());
        let mut entries = vec![0; ints::to_usize(L2)];
        for (block, before) in self.stored.within(table * L2..(table + 1) * L2) {
            entries[ints::to_usize(block % L2)] = ((first + before) * CLUSTER) | COPIED;
        }
        padded(entries.into_iter(), 1)
    }
}

/// The L2 tables with a stored cluster.
fn used(stored: &Stored) -> impl Iterator<Item = u64> + '_ {
    let mut next = 0;
    stored.ranges().iter().flat_map(move |range| {
        let tables = (range.start / L2).max(next)..range.end.div_ceil(L2);
        next = tables.end.max(next);
        tables
    })
}

/// Numbers, big-endian, filled up to whole clusters.
fn padded(numbers: impl Iterator<Item = u64>, clusters: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
    bytes.resize(ints::to_usize(clusters * CLUSTER), 0);
    bytes
}

impl Head for Plain {
    fn stored(&self) -> &Stored {
        &self.stored
    }

    fn parts(&self) -> Box<dyn Iterator<Item = Part> + '_> {
        let header = ondisk::header(&self.places, Compression::Deflate);
        let rest = CLUSTER - ints::to_u64(header.len());
        let start = [Part::Bytes(header), Part::Zeros(rest), Part::Bytes(self.refcount_table())];
        let counts = (0..self.refcount_blocks).map(|number| Part::Bytes(self.refcount_block(number)));
        let l1 = std::iter::once_with(|| Part::Bytes(self.l1()));
        let l2 = self.l2.iter().map(|table| Part::Bytes(self.l2(*table)));
        Box::new(start.into_iter().chain(counts).chain(l1).chain(l2))
    }
}
