//! Cuts a block's symbols where their statistics change, so that each part has codes of its own.

use super::symbol::{DISTANCES, END, LENGTHS, LITERALS, Symbol, distance};

/// Symbols that are counted together.
const PIECE: usize = 2048;
/// What the codes of one more part cost, in 1/256 bits.
const CODES: u64 = 560 << 8;

/// How often each code occurs.
#[derive(Clone)]
pub(super) struct Counts {
    /// Of literals, the end, and lengths.
    pub literals: [u32; LITERALS],
    /// Of distances.
    pub distances: [u32; DISTANCES],
}

impl Counts {
    fn of(symbols: &[Symbol]) -> Self {
        let mut counts = Self { literals: [0; LITERALS], distances: [0; DISTANCES] };
        for symbol in symbols {
            match symbol {
                Symbol::Literal(byte) => counts.literals[usize::from(*byte)] += 1,
                Symbol::Copy(length, back) => {
                    counts.literals[usize::from(LENGTHS[usize::from(*length)].0)] += 1;
                    counts.distances[usize::from(distance(*back).0)] += 1;
                }
            }
        }
        counts
    }

    fn add(&mut self, other: &Self) {
        self.literals.iter_mut().zip(&other.literals).for_each(|(a, b)| *a += b);
        self.distances.iter_mut().zip(&other.distances).for_each(|(a, b)| *a += b);
    }

    /// Bits that the best codes need, in 1/256: the entropy.
    fn cost(&self) -> u64 {
        entropy(&self.literals) + entropy(&self.distances)
    }
}

fn entropy(counts: &[u32]) -> u64 {
    let total: u32 = counts.iter().sum();
    let each: u64 = counts.iter().filter(|count| **count > 0).map(|count| weighed(*count)).sum();
    weighed(total.max(1)).saturating_sub(each)
}

/// A count times its binary logarithm, in 1/256.
fn weighed(count: u32) -> u64 {
    u64::from(count) * log2(count)
}

/// The binary logarithm in 1/256: exact for powers of two, between them by a parabola that is at most 1/100 off.
fn log2(count: u32) -> u64 {
    let whole = count.ilog2();
    // What is behind the point of the number, in 1/2^16.
    let part = ((u64::from(count) << 16) >> whole) & 0xffff;
    let bend = (part * (0x1_0000 - part)) >> 16;
    u64::from(whole) * 256 + ((part + bend * 88 / 256) >> 8)
}

/// The fewest bytes that parts have, whatever their codes.
pub(super) fn least(parts: &[(&[Symbol], Counts)]) -> u64 {
    let cost: u64 = parts.iter().map(|(_, counts)| counts.cost()).sum();
    // The logarithm is a little off.
    cost / 256 / 8 * 63 / 64
}

/// Parts of the symbols, in order, with their counts; the end of each counted.
pub(super) fn parts(symbols: &[Symbol]) -> Vec<(&[Symbol], Counts)> {
    let mut parts: Vec<(&[Symbol], Counts)> = Vec::new();
    let (mut from, mut to) = (0, symbols.len().min(PIECE));
    let mut open = Counts::of(&symbols[..to]);
    let mut cost = open.cost();
    while to < symbols.len() {
        let end = symbols.len().min(to + PIECE);
        let piece = Counts::of(&symbols[to..end]);
        let mut both = open.clone();
        both.add(&piece);
        let (apart, together) = (piece.cost(), both.cost());
        if cost + apart + CODES < together {
            parts.push((&symbols[from..to], open));
            (from, open, cost) = (to, piece, apart);
        } else {
            (open, cost) = (both, together);
        }
        to = end;
    }
    parts.push((&symbols[from..to], open));
    for (_, counts) in &mut parts {
        counts.literals[END] += 1;
    }
    parts
}
