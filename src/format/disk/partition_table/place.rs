//! Where partitions lie, as tables say it.

use super::problem::Problem;

/// Where a partition lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number, from 1.
    pub number: u32,
    /// Its first sector.
    pub start: u64,
    /// How many sectors it has.
    pub sectors: u64,
}

impl Place {
    /// Its last sector; the first one if it has none, the highest number there is if it reaches beyond.
    pub const fn last(self) -> u64 {
        self.start.saturating_add(self.sectors.saturating_sub(1))
    }
}

/// Checks where partitions are that were read.
pub(crate) fn check(places: &[Place], first: u64, end: u64, problems: &mut Vec<Problem>) {
    for place in places {
        let (number, start, last) = (place.number, place.start, place.last());
        if start < first || last > end {
            problems.push(Problem::Outside { number, start, last, first, end });
        }
    }
    let mut sorted = places.to_vec();
    sorted.sort_unstable_by_key(|place| (place.start, place.last(), place.number));
    // The one that reaches farthest so far: a long partition may cover several.
    let mut far: Option<Place> = None;
    for place in sorted {
        if let Some(far) = far.filter(|far| place.start <= far.last()) {
            problems.push(Problem::Overlap(far.number, place.number));
        }
        if far.is_none_or(|far| place.last() > far.last()) {
            far = Some(place);
        }
    }
}
