//! Finds copies: chains of places that begin with the same four bytes, and the last place with the same three.

use super::symbol::Symbol;

/// How far back a copy may be.
const WINDOW: usize = 4096;
/// The shortest and the longest copy.
const SHORTEST: usize = 3;
const LONGEST: usize = 258;
/// Bits of the hashes of four and of three bytes.
const BITS_4: u32 = 14;
const BITS_3: u32 = 12;
/// After so many literals without a copy a place is passed over now and then, and more of them later, up to a number:
/// what is packed already has no copies.
const QUIET: usize = 128;
const FASTEST: usize = 6;
/// No place: no copy begins so late in a block.
const NONE: u16 = u16::MAX;

/// How hard it is looked.
#[derive(Clone, Copy)]
struct Effort {
    /// Places of a chain that are looked at.
    depth: u32,
    /// A copy of this length is not improved.
    nice: usize,
    /// A copy of this length is taken without a look at the next place.
    lazy: usize,
}

const EFFORTS: [Effort; 9] = [
    Effort { depth: 2, nice: 16, lazy: 0 },
    Effort { depth: 4, nice: 24, lazy: 4 },
    Effort { depth: 6, nice: 32, lazy: 8 },
    Effort { depth: 10, nice: 48, lazy: 16 },
    Effort { depth: 24, nice: 96, lazy: 32 },
    Effort { depth: 48, nice: 128, lazy: 48 },
    Effort { depth: 96, nice: 160, lazy: 128 },
    Effort { depth: 250, nice: 258, lazy: 258 },
    Effort { depth: 1000, nice: 258, lazy: 258 },
];

/// A copy.
#[derive(Clone, Copy, Default)]
struct Found {
    len: usize,
    distance: usize,
}

/// The chains.
pub(super) struct Finder {
    effort: Effort,
    /// The last place of each hash of four bytes.
    last_4: Box<[u16; 1 << BITS_4]>,
    /// The last place of each hash of three bytes.
    last_3: Box<[u16; 1 << BITS_3]>,
    /// The place before each place of the window, by its low bits.
    before: Box<[u16; WINDOW]>,
}

fn four(block: &[u8], at: usize) -> u32 {
    match block.get(at..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u32::from_le_bytes(*bytes),
        None => 0,
    }
}

const fn hash(word: u32, bits: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}

/// How many bytes are the same at two places, `most` at the most.
fn alike(block: &[u8], one: usize, two: usize, most: usize) -> usize {
    let (one, two) = (&block[one..one + most], &block[two..two + most]);
    let (words_one, _) = one.as_chunks::<8>();
    let (words_two, _) = two.as_chunks::<8>();
    let mut len = 0;
    for (a, b) in words_one.iter().zip(words_two) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return len + (differ.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    len + one[len..].iter().zip(&two[len..]).take_while(|(a, b)| a == b).count()
}

impl Finder {
    pub fn new(level: u32) -> Self {
        let level = usize::try_from(level).unwrap_or(9).clamp(1, 9);
        Self {
            effort: EFFORTS[level - 1],
            last_4: Box::new([NONE; 1 << BITS_4]),
            last_3: Box::new([NONE; 1 << BITS_3]),
            before: Box::new([NONE; WINDOW]),
        }
    }

    /// Takes a block apart.
    pub fn find(&mut self, block: &[u8], symbols: &mut Vec<Symbol>) {
        self.last_4.fill(NONE);
        self.last_3.fill(NONE);
        let (mut at, mut quiet) = (0, 0);
        let mut found = self.best(block, 0, 0);
        while at < block.len() {
            if found.len < SHORTEST {
                let step = (1 + quiet / QUIET).min(FASTEST).min(block.len() - at);
                symbols.extend(block[at..at + step].iter().map(|byte| Symbol::Literal(*byte)));
                (at, quiet) = (at + step, quiet + step);
                found = self.best(block, at, 0);
                continue;
            }
            quiet = 0;
            if found.len < self.effort.lazy {
                let next = self.best(block, at + 1, found.len.saturating_sub(1));
                if is_better(next, found) {
                    symbols.push(Symbol::Literal(block[at]));
                    at += 1;
                    found = next;
                    continue;
                }
                self.enter_all(block, at + 2..at + found.len);
            } else {
                self.enter_all(block, at + 1..at + found.len);
            }
            symbols.push(copy(found));
            at += found.len;
            found = self.best(block, at, 0);
        }
    }

    /// Puts places into the chains without a look.
    fn enter_all(&mut self, block: &[u8], places: std::ops::Range<usize>) {
        for at in places {
            if at + 4 <= block.len() {
                self.enter(four(block, at), at);
            }
        }
    }

    /// Puts a place into its chains, and gives the last ones before it.
    fn enter(&mut self, word: u32, at: usize) -> (u16, u16) {
        let place = u16::try_from(at).unwrap_or(NONE);
        let (slot_4, slot_3) = (&mut self.last_4[hash(word, BITS_4)], hash(word << 8, BITS_3));
        let last_4 = std::mem::replace(slot_4, place);
        let last_3 = std::mem::replace(&mut self.last_3[slot_3], place);
        self.before[at % WINDOW] = last_4;
        (last_4, last_3)
    }

    /// The longest copy at a place, which must have more than `least` bytes; the place is put into the chains.
    fn best(&mut self, block: &[u8], at: usize, least: usize) -> Found {
        let most = LONGEST.min(block.len().saturating_sub(at));
        if most < 4 {
            return Found::default();
        }
        let word = four(block, at);
        let (last_4, last_3) = self.enter(word, at);
        let mut found = Found { len: least.max(SHORTEST - 1), distance: 0 };
        let third = usize::from(last_3);
        if found.len < SHORTEST && third < at && at - third <= WINDOW && (four(block, third) ^ word) << 8 == 0
        {
            found = Found { len: SHORTEST, distance: at - third };
        }
        let nice = self.effort.nice.min(most);
        let (mut place, mut left) = (usize::from(last_4), self.effort.depth);
        let mut newest = at;
        while left > 0 && place < newest && at - place <= WINDOW {
            // The last four bytes of what would be longer are looked at first: most places fail there.
            let tail = found.len.max(SHORTEST) - 3;
            if found.len >= most {
                break;
            }
            if four(block, place + tail) == four(block, at + tail) && four(block, place) == word {
                let len = alike(block, place, at, most);
                if len > found.len {
                    found = Found { len, distance: at - place };
                    if len >= nice {
                        break;
                    }
                }
            }
            newest = place;
            place = usize::from(self.before[place % WINDOW]);
            left -= 1;
        }
        if found.distance == 0 { Found::default() } else { found }
    }
}

/// Whether a copy one place on is worth the literal before it.
fn is_better(next: Found, found: Found) -> bool {
    let bits = |distance: usize| distance.checked_ilog2().unwrap_or(0);
    let (gain, far) = (4 * next.len + 100, bits(next.distance) as usize);
    next.distance > 0 && gain + bits(found.distance) as usize > 4 * found.len + 102 + far
}

fn copy(found: Found) -> Symbol {
    let len = u8::try_from(found.len - SHORTEST).unwrap_or(u8::MAX);
    Symbol::Copy(len, u16::try_from(found.distance).unwrap_or(1))
}
