//! Where a medium does not hold what it should.

use crate::sizes::show_bytes;
use std::fmt;

/// Ranges that are listed; more are only counted.
const LISTED: usize = 1000;

/// A run of bytes that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

/// All places that differ, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The first thousand.
    pub ranges: Vec<Bad>,
    /// How many there are.
    pub count: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// Where the last one ends.
    pub end: u64,
    /// How many bytes of them could not be read.
    pub unreadable: u64,
}

impl Differences {
    /// Adds a range behind all others; one that touches the last is merged with it.
    pub fn add(&mut self, offset: u64, len: u64) {
        self.bytes += len;
        if self.count > 0 && offset <= self.end {
            let end = self.end.max(offset + len);
            if let Some(last) = self.ranges.last_mut().filter(|last| last.offset + last.len == self.end) {
                last.len = end - last.offset;
            }
            self.end = end;
            return;
        }
        self.count += 1;
        self.end = offset + len;
        if self.ranges.len() < LISTED {
            self.ranges.push(Bad { offset, len });
        }
    }

    /// Adds a range that could not be read.
    pub fn add_unreadable(&mut self, offset: u64, len: u64) {
        self.add(offset, len);
        self.unreadable += len;
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first byte that differs.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.ranges.first().map(|bad| bad.offset)
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.first().unwrap_or(0);
        write!(f, "{} in {} ", show_bytes(self.bytes), self.count)?;
        f.write_str(if self.count == 1 { "place" } else { "places" })?;
        write!(f, ", from byte {first} to byte {}", self.end)?;
        if self.unreadable > 0 {
            write!(f, ", {} of them unreadable", show_bytes(self.unreadable))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_place_and_the_list_is_bounded() {
        let mut found = Differences::default();
        found.add(4096, 4096);
        found.add(8192, 512);
        found.add_unreadable(16384, 512);
        assert_eq!(found.ranges, [Bad { offset: 4096, len: 4608 }, Bad { offset: 16384, len: 512 }]);
        assert_eq!(
            found.to_string(),
            "5 KiB in 2 places, from byte 4096 to byte 16896, 512 bytes of them unreadable"
        );
        for n in 10..5000 {
            found.add(n * 8192, 1024);
        }
        assert_eq!((found.ranges.len(), found.count), (LISTED, 4992));
    }
}
