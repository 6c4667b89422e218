//! Bytes of nixflash's own making.

use super::content::Content;
use crate::ints;

/// Bytes that nixflash made, by their index in [`Content::Literal`].
#[derive(Default)]
pub struct Literals(Vec<Box<[u8]>>);

impl Literals {
    /// Keeps bytes and says where they are.
    pub fn keep(&mut self, bytes: impl Into<Box<[u8]>>) -> Content {
        // cannot fail: a plan makes a few dozen of them
        let index = u32::try_from(self.0.len()).expect("fewer than 2^32 literals");
        self.0.push(bytes.into());
        Content::Literal(index)
    }

    /// All of them, in the order in which they were kept.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|bytes| &**bytes)
    }

    /// Replaces bytes by others of the same length: their length is planned before they are known.
    pub fn settle(&mut self, index: u32, bytes: impl Into<Box<[u8]>>) {
        let slot = &mut self.0[ints::to_usize(u64::from(index))];
        let bytes = bytes.into();
        debug_assert_eq!(slot.len(), bytes.len());
        *slot = bytes;
    }

    /// The bytes at an index that `keep` gave.
    pub fn get(&self, index: u32) -> &[u8] {
        &self.0[ints::to_usize(u64::from(index))]
    }
}
