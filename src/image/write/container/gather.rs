//! Cuts a disk into blocks, a number of them at a time, and leaves out those in which nothing was given.

use crate::ints;

/// Blocks that are packed together by one thread.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Their numbers, ascending.
    pub numbers: Vec<u64>,
    /// Their bytes, one after the other.
    pub bytes: Vec<u8>,
}

/// Cuts a disk.
#[derive(Debug)]
pub(super) struct Gather {
    block: u64,
    most: usize,
    position: u64,
    batch: Batch,
}

impl Gather {
    /// Cuts into blocks of `block` bytes, `most` in a batch.
    pub fn new(block: u64, most: usize) -> Self {
        Self { block, most, position: 0, batch: Batch::default() }
    }

    /// Takes bytes, as far as the batch has room; gives what is left of them, and the batch when it is full.
    pub fn data<'b>(&mut self, bytes: &'b [u8]) -> (&'b [u8], Option<Batch>) {
        let within = self.begin();
        let (now, later) = bytes.split_at(bytes.len().min(ints::to_usize(self.block - within)));
        self.batch.bytes.extend_from_slice(now);
        self.position += ints::to_u64(now.len());
        (later, self.full())
    }

    /// Takes zeros, and gives how many are left of them.
    pub fn zeros(&mut self, len: u64) -> (u64, Option<Batch>) {
        let within = self.position % self.block;
        if within == 0 && len >= self.block {
            let whole = len / self.block * self.block;
            self.position += whole;
            return (len - whole, None);
        }
        let within = self.begin();
        let now = len.min(self.block - within);
        self.batch.bytes.resize(self.batch.bytes.len() + ints::to_usize(now), 0);
        self.position += now;
        (len - now, self.full())
    }

    /// Begins a block if the position is at the start of one; gives how many bytes of it there are.
    fn begin(&mut self) -> u64 {
        let within = self.position % self.block;
        if within == 0 {
            self.batch.numbers.push(self.position / self.block);
        }
        within
    }

    fn full(&mut self) -> Option<Batch> {
        let is_full = self.batch.numbers.len() == self.most && self.position.is_multiple_of(self.block);
        is_full.then(|| std::mem::take(&mut self.batch))
    }

    /// What is left, the last block filled up with zeros.
    pub fn finish(mut self) -> Batch {
        let whole = self.batch.numbers.len() * ints::to_usize(self.block);
        self.batch.bytes.resize(whole, 0);
        self.batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_whole_and_those_without_a_byte_are_left_out() {
        let mut gather = Gather::new(4, 2);
        let mut batches = Vec::new();
        for (data, mut zeros) in [(&b"abc"[..], 9), (b"d", 1), (b"", 30), (b"efghij", 0)] {
            let mut data = data;
            while !data.is_empty() {
                let (rest, full) = gather.data(data);
                (data, batches) = (rest, batches.into_iter().chain(full).collect());
            }
            while zeros > 0 {
                let (rest, full) = gather.zeros(zeros);
                (zeros, batches) = (rest, batches.into_iter().chain(full).collect());
            }
        }
        batches.push(gather.finish());
        let found: Vec<(&[u64], &[u8])> =
            batches.iter().map(|batch| (&*batch.numbers, &*batch.bytes)).collect();
        // Bytes 0 to 12: abc and zeros; 12: d; up to 44 zeros; then six more.
        assert_eq!(found, [(&[0, 3][..], &b"abc\0d\0\0\0"[..]), (&[11, 12], b"efghij\0\0")]);
    }
}
