//! Packs short blocks by deflate (RFC 1951) with a small window, all in one go.
//!
//! zlib keeps state from call to call and looks for matches in what has passed. A block that is in memory as a whole can be
//! cut where its contents change, and a window of 4 KiB is searched with short chains: fewer bytes in less time than zlib
//! takes at its usual level (`docs/measured.md`). There is nothing in it that depends on a machine: only integers, no
//! chance, no hash of the processor's.

mod code;
mod emit;
mod find;
mod split;
mod symbol;

use find::Finder;
use symbol::Symbol;

/// The longest block, in bytes.
pub const MAX_BLOCK: usize = 64 << 10;

/// Packs one block after the other.
pub struct Deflate {
    finder: Finder,
    symbols: Vec<Symbol>,
}

impl Deflate {
    /// Packs as hard as `level` says: 1 to 9.
    #[must_use]
    pub fn new(level: u32) -> Self {
        Self { finder: Finder::new(level), symbols: Vec::with_capacity(MAX_BLOCK) }
    }

    /// Appends a block of at most [`MAX_BLOCK`] bytes to `out` as a raw deflate stream, whose distances are at most 4096.
    /// Where it is known before it is written that it has more than `room` bytes, nothing is appended.
    pub fn pack(&mut self, block: &[u8], room: usize, out: &mut Vec<u8>) {
        self.symbols.clear();
        self.finder.find(block, &mut self.symbols);
        let parts = split::parts(&self.symbols);
        if split::least(&parts) <= crate::ints::to_u64(room) {
            emit::stream(&parts, out);
        }
    }
}

#[cfg(test)]
mod tests;
