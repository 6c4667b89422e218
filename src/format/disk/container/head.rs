//! What a container has in front of its blocks.

/// A part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes.
    Bytes(Vec<u8>),
    /// That many zeros.
    Zeros(u64),
}

/// A container whose tables come first: what is stored follows them in ascending order, each block filled up with zeros
/// to its whole length.
pub trait Head: Send + Sync {
    /// What is stored.
    fn stored(&self) -> &super::stored::Stored;

    /// What comes before the first block, in order. A part has at most a few hundred KiB.
    fn parts(&self) -> Box<dyn Iterator<Item = Part> + '_>;
}
