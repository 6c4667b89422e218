//! Writes parts of a block with the codes that are best for each.

use super::code::{codes, lengths};
use super::split::Counts;
use super::symbol::{END, LENGTHS, Symbol, distance};

/// The longest codes, and the longest of the codes that tell their lengths.
const LONGEST: u8 = 15;
const LONGEST_OF_LENGTHS: u8 = 7;
/// The order in which the lengths of those are written.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Bits, the lowest first.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    word: u64,
    used: u32,
}

impl Bits<'_> {
    /// Appends up to 32 bits.
    fn put(&mut self, bits: u64, number: u32) {
        self.word |= bits << self.used;
        self.used += number;
        if self.used >= 32 {
            let [a, b, c, d, ..] = self.word.to_le_bytes();
            self.out.extend([a, b, c, d]);
            self.word >>= 32;
            self.used -= 32;
        }
    }

    fn finish(self) {
        let bytes = self.word.to_le_bytes();
        self.out.extend(bytes.iter().take(self.used.div_ceil(8) as usize));
    }
}

/// A code for each symbol: its bits and how many they are.
struct Code {
    bits: Vec<u16>,
    lengths: Vec<u8>,
}

impl Code {
    fn new(lengths: Vec<u8>) -> Self {
        Self { bits: codes(&lengths), lengths }
    }

    fn put(&self, symbol: usize, out: &mut Bits<'_>) {
        out.put(u64::from(self.bits[symbol]), u32::from(self.lengths[symbol]));
    }

    /// How many bits so many of each symbol take.
    fn cost(&self, counts: &[u32]) -> u64 {
        counts.iter().zip(&self.lengths).map(|(count, length)| u64::from(*count) * u64::from(*length)).sum()
    }
}

/// Writes a whole stream.
pub(super) fn stream(parts: &[(&[Symbol], Counts)], out: &mut Vec<u8>) {
    let mut bits = Bits { out, word: 0, used: 0 };
    for (number, (symbols, counts)) in (1..).zip(parts) {
        bits.put(u64::from(number == parts.len()), 1);
        part(symbols, counts, &mut bits);
    }
    bits.finish();
}

fn part(symbols: &[Symbol], counts: &Counts, out: &mut Bits<'_>) {
    let literals = Code::new(lengths(&counts.literals, LONGEST));
    let distances = Code::new(lengths(&counts.distances, LONGEST));
    let table = Table::new(&literals.lengths, &distances.lengths);
    let cost = |literals: &Code, distances: &Code| {
        literals.cost(&counts.literals) + distances.cost(&counts.distances)
    };
    let (fixed_literals, fixed_distances) = fixed();
    // More bits of lengths and distances are the same with any codes.
    if cost(&fixed_literals, &fixed_distances) <= cost(&literals, &distances) + table.cost() {
        out.put(1, 2);
        body(symbols, &fixed_literals, &fixed_distances, out);
    } else {
        out.put(2, 2);
        table.put(out);
        body(symbols, &literals, &distances, out);
    }
}

/// The codes that need no table.
fn fixed() -> (Code, Code) {
    let lengths = [[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat();
    (Code::new(lengths), Code::new(vec![5; 32]))
}

fn body(symbols: &[Symbol], literals: &Code, distances: &Code, out: &mut Bits<'_>) {
    for symbol in symbols {
        match symbol {
            Symbol::Literal(byte) => literals.put(usize::from(*byte), out),
            Symbol::Copy(length, back) => {
                let (code, number, more) = LENGTHS[usize::from(*length)];
                literals.put(usize::from(code), out);
                out.put(u64::from(more), u32::from(number));
                let (code, number, more) = distance(*back);
                distances.put(usize::from(code), out);
                out.put(u64::from(more), u32::from(number));
            }
        }
    }
    literals.put(END, out);
}

/// The lengths of both codes, written in a code of their own.
struct Table {
    literals: usize,
    distances: usize,
    /// Symbols of that code: with how many more bits, and which.
    runs: Vec<(usize, u32, u64)>,
    code: Code,
    /// How many of its lengths are written.
    shown: usize,
}

impl Table {
    fn new(literals: &[u8], distances: &[u8]) -> Self {
        let used = |lengths: &[u8], least: usize| {
            lengths.iter().rposition(|length| *length > 0).map_or(least, |last| (last + 1).max(least))
        };
        let (literals_used, distances_used) = (used(literals, 257), used(distances, 1));
        let all = [&literals[..literals_used], &distances[..distances_used]].concat();
        let runs = runs(&all);
        let mut counts = [0; 19];
        for (symbol, ..) in &runs {
            counts[*symbol] += 1;
        }
        let code = Code::new(lengths(&counts, LONGEST_OF_LENGTHS));
        let shown =
            ORDER.iter().rposition(|symbol| code.lengths[*symbol] > 0).map_or(4, |last| (last + 1).max(4));
        Self { literals: literals_used, distances: distances_used, runs, code, shown }
    }

    fn cost(&self) -> u64 {
        let runs = self
            .runs
            .iter()
            .map(|(symbol, number, _)| u64::from(self.code.lengths[*symbol]) + u64::from(*number));
        14 + 3 * crate::ints::to_u64(self.shown) + runs.sum::<u64>()
    }

    fn put(&self, out: &mut Bits<'_>) {
        out.put(crate::ints::to_u64(self.literals - 257), 5);
        out.put(crate::ints::to_u64(self.distances - 1), 5);
        out.put(crate::ints::to_u64(self.shown - 4), 4);
        for symbol in &ORDER[..self.shown] {
            out.put(u64::from(self.code.lengths[*symbol]), 3);
        }
        for (symbol, number, more) in &self.runs {
            self.code.put(*symbol, out);
            out.put(*more, *number);
        }
    }
}

/// Lengths as the table has them: 16 repeats the one before 3 to 6 times, 17 and 18 are 3 to 10 and 11 to 138 zeros.
fn runs(lengths: &[u8]) -> Vec<(usize, u32, u64)> {
    let mut runs = Vec::new();
    let mut rest = lengths;
    while let Some(first) = rest.first() {
        let mut run = rest.iter().take_while(|length| *length == first).count();
        rest = &rest[run..];
        let more = crate::ints::to_u64;
        if *first == 0 {
            while run >= 11 {
                let now = run.min(138);
                runs.push((18, 7, more(now - 11)));
                run -= now;
            }
            if run >= 3 {
                runs.push((17, 3, more(run - 3)));
                run = 0;
            }
        } else {
            runs.push((usize::from(*first), 0, 0));
            run -= 1;
            while run >= 3 {
                let now = run.min(6);
                runs.push((16, 2, more(now - 3)));
                run -= now;
            }
        }
        runs.extend(std::iter::repeat_n((usize::from(*first), 0, 0), run));
    }
    runs
}
