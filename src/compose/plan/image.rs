//! The finished plan, and the image that it describes.

use super::landed::Settled;
use super::layout::Part;
use super::summary::Summary;
use crate::compose::closure::Packed;
use crate::compose::content::Content;
use crate::compose::literals::Literals;
use crate::compose::request::channels::Pin;
use crate::store::Store;
use crate::tree::Node;
use std::sync::Arc;

/// All that moving the bytes needs.
pub struct Image {
    /// Length in bytes.
    pub len: u64,
    /// Parts in ascending order.
    pub parts: Vec<Part>,
    /// Stores that sources refer to.
    pub stores: Vec<Box<dyn Store>>,
    /// Sources of contents, the closure first.
    pub sources: Vec<Packed>,
    /// Their trees.
    pub trees: Vec<Node<Content>>,
    /// Contents of nixflash's own making.
    pub literals: Literals,
}

/// Every decision about an image.
pub struct Plan {
    /// What moves.
    pub(crate) image: Arc<Image>,
    /// What is at its place already in the file that was landed on; `None` where something is that should not be.
    pub(crate) settled: Option<Settled>,
    /// What it says of itself.
    pub summary: Summary,
    /// What was taken from a channel.
    pub pins: Vec<Pin>,
    /// The platform of the system, such as `aarch64-linux`.
    pub platform: String,
}

impl Plan {
    /// Bytes of contents that are at their place already, in the file that they landed on.
    #[must_use]
    pub fn landed_bytes(&self) -> u64 {
        self.settled.as_ref().map_or(0, |settled| settled.bytes)
    }
}
