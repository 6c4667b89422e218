//! Which blocks of a disk are stored.

use std::ops::Range;

/// The blocks of a disk that are stored, as ascending ranges that neither touch nor overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    size: u64,
    block: u64,
    ranges: Vec<Range<u64>>,
}

impl Stored {
    /// The blocks of `block` bytes that `data` touches, ascending ranges of bytes of a disk that has `size` of them.
    #[must_use]
    pub fn new(size: u64, block: u64, data: &[Range<u64>]) -> Self {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for data in data.iter().filter(|data| data.start < data.end) {
            let (from, to) = (data.start / block, data.end.min(size).div_ceil(block));
            match ranges.last_mut() {
                Some(last) if from <= last.end => last.end = last.end.max(to),
                _ => ranges.push(from..to),
            }
        }
        Self { size, block, ranges }
    }

    /// The length of the disk in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The length of a block in bytes.
    #[must_use]
    pub const fn block(&self) -> u64 {
        self.block
    }

    /// How many blocks the disk has.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.size.div_ceil(self.block)
    }

    /// How many are stored.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// The numbers of those that are stored, as ranges.
    #[must_use]
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// The stored blocks among `blocks`: for each its number, and how many stored ones come before it.
    pub fn within(&self, blocks: Range<u64>) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = self.ranges.partition_point(|range| range.end <= blocks.start);
        let mut before: u64 = self.ranges[..first].iter().map(|range| range.end - range.start).sum();
        let to = blocks.end;
        self.ranges[first..].iter().take_while(move |range| range.start < to).flat_map(move |range| {
            let (from, base) = (range.start.max(blocks.start), before);
            before += range.end - range.start;
            (from..range.end.min(to)).map(move |block| (block, base + (block - range.start)))
        })
    }

    /// Whether any is stored among `blocks`.
    #[must_use]
    pub fn any_within(&self, blocks: Range<u64>) -> bool {
        let first = self.ranges.partition_point(|range| range.end <= blocks.start);
        self.ranges.get(first).is_some_and(|range| range.start < blocks.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_data_touch_are_stored_once_each() {
        let stored = Stored::new(1050, 100, &[0..1, 99..101, 350..350, 400..499, 500..510, 1000..1050]);
        assert_eq!(stored.ranges(), [0..2, 4..6, 10..11]);
        assert_eq!((stored.blocks(), stored.count()), (11, 5));
        let within = |blocks| stored.within(blocks).collect::<Vec<_>>();
        assert_eq!(within(0..11), [(0, 0), (1, 1), (4, 2), (5, 3), (10, 4)]);
        assert_eq!(within(1..5), [(1, 1), (4, 2)]);
        assert_eq!(within(5..6), [(5, 3)]);
        assert!(!stored.any_within(2..4) && stored.any_within(3..5) && !stored.any_within(6..10));
    }
}
