//! What a journal has newer copies of.

use super::error::Error;
use std::collections::{BTreeMap, BTreeSet};

/// Where the newest copy of a block is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy {
    /// The block of the journal, on the device.
    pub at: u64,
    /// Whether its first four bytes were replaced.
    pub escaped: bool,
}

/// Blocks that the journal holds a newer copy of.
#[derive(Debug, Default)]
pub struct Replayed {
    blocks: BTreeMap<u64, Copy>,
    transactions: u32,
}

impl Replayed {
    /// How many transactions were replayed.
    #[must_use]
    pub const fn transactions(&self) -> u32 {
        self.transactions
    }

    /// The first block from `from` up to, without, `to` that is to be taken from the journal, and from where.
    pub(crate) fn next(&self, from: u64, to: u64) -> Option<(u64, u64, bool)> {
        if self.blocks.is_empty() {
            return None;
        }
        self.blocks.range(from..to).next().map(|(block, copy)| (*block, copy.at, copy.escaped))
    }

    /// Takes a transaction whose commit is there.
    pub(crate) fn commit(&mut self, open: Open) -> Result<(), Error> {
        if let Some(error) = open.wrong {
            return Err(error);
        }
        for block in &open.revoked {
            self.blocks.remove(block);
        }
        let writes = open.writes.into_iter().filter(|(block, _)| !open.revoked.contains(block));
        self.blocks.extend(writes);
        self.transactions += 1;
        Ok(())
    }
}

/// A transaction that is not committed yet.
#[derive(Default)]
pub(crate) struct Open {
    pub writes: Vec<(u64, Copy)>,
    pub revoked: BTreeSet<u64>,
    /// The first block whose checksum is wrong: without a commit it does not count, with one the kernel gives up.
    pub wrong: Option<Error>,
}
