//! Where the bytes of a file of the new volume are.

use crate::tree::Node;

/// Where the contents of a file of a new volume are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The file of that index among the new ones.
    New(u32),
    /// The file of that index among those that stay, on the volume before.
    Kept(u32),
}

/// A tree whose files are new or stay.
pub(crate) type Tree = Node<Content>;
