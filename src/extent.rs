//! What the ranges of an image hold: the form in which every on-disk format says how it is laid out.
//!
//! A format (FAT, ext4, a partition table) plans first: it turns a tree and options into a [`Layout`], an ascending
//! list of extents, without having seen a byte of content. Metadata is rendered when its extent is moved, so that a
//! plan of 100,000 files stays small. What lies between two extents is *don't care*: unallocated blocks.

/// What one extent holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill<C> {
    /// Zeros that a reader may rely on.
    Zeros,
    /// Metadata, which [`Layout::encode`] renders.
    Encoded,
    /// `len` bytes of a file, from its byte `at`; the rest of the extent, if any, is zeros.
    Content {
        /// The file, by what its tree says of its contents.
        content: C,
        /// Where in the file, in bytes.
        at: u64,
        /// How many bytes of the file, at most the length of the extent.
        len: u64,
    },
}

/// One range of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent<C> {
    /// Where it begins, in bytes from the start of the layout.
    pub offset: u64,
    /// How long it is, in bytes; never 0.
    pub len: u64,
    /// What it holds.
    pub fill: Fill<C>,
}

/// A planned part of an image: a partition table, a file system.
///
/// Extents ascend and do not overlap. Offsets and lengths are multiples of 512. An encoded extent is at most
/// [`MAX_ENCODED`] bytes long. The contents of a file come in ascending order, and files come in the order in which
/// the tree was walked.
pub trait Layout<C> {
    /// The length of the part in bytes; the last extent ends at or before it.
    fn len(&self) -> u64;

    /// All that is not *don't care*.
    fn extents(&self) -> &[Extent<C>];

    /// Renders the encoded extent `self.extents()[index]` into `out`, which is as long as the extent and holds
    /// anything. The same bytes each time.
    fn encode(&self, index: usize, out: &mut [u8]);

    /// Whether the part has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The longest encoded extent, in bytes: bounds the buffer that a mover of bytes needs.
pub const MAX_ENCODED: u64 = 1 << 20;
