//! Each reader of foreign bytes over its seeds and 2,000 mutations of them: it ends and does not panic.

use crate::fuzz_targets::TARGETS;
use std::time::{Duration, Instant};

/// Mutations of each target.
const MUTATIONS: u64 = 2000;
/// No input may take longer; most take less than a millisecond.
const LONGEST: Duration = Duration::from_secs(5);

/// A sequence that is the same each time: splitmix64.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Changes an input in one to four places.
fn mutate(bytes: &mut Vec<u8>, sequence: &mut Sequence) {
    for _ in 0..=sequence.below(4) {
        let at = sequence.below(bytes.len());
        match sequence.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), sequence.next() as u8),
            2 => {
                let to = bytes.len().min(at + 1 + sequence.below(64));
                let part = bytes[at..to].to_vec();
                bytes.splice(at..at, part);
            }
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => {
                let to = bytes.len().min(at + 8);
                bytes[at..to].fill(*[0, 0xff, b'9', b'/', 0x80].get(sequence.below(5)).unwrap());
            }
            _ if at < bytes.len() => bytes[at] ^= 1 << sequence.below(8),
            _ => {}
        }
    }
}

#[test]
fn every_reader_ends_on_whatever_it_is_given() {
    for (number, target) in (1_u64..).zip(&TARGETS) {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        seeds.iter().for_each(|seed| (target.run)(seed));
        let (mut sequence, began) = (Sequence(number), Instant::now());
        for _ in 0..MUTATIONS {
            let mut input = seeds[sequence.below(seeds.len())].clone();
            mutate(&mut input, &mut sequence);
            let one = Instant::now();
            (target.run)(&input);
            assert!(one.elapsed() < LONGEST, "{}: {:?} for {input:x?}", target.name, one.elapsed());
        }
        println!("{}: {:.0} inputs a second", target.name, MUTATIONS as f64 / began.elapsed().as_secs_f64());
    }
}
