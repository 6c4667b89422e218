//! What a container needs to know of an image before any byte of it.

use crate::compose::plan::image::Plan;
use crate::extent::Fill;
use crate::image::container::Disk;
use crate::ints;
use sha2::{Digest, Sha256};
use std::ops::Range;

impl Plan {
    /// The image as a disk: where it has something, and what tells it from any other.
    #[must_use]
    pub fn disk(&self) -> Disk {
        let image = &*self.image;
        let mut data: Vec<Range<u64>> = Vec::new();
        for part in &image.parts {
            for extent in part.layout.extents().iter().filter(|extent| extent.fill != Fill::Zeros) {
                let from = part.offset + extent.offset;
                let to = from + extent.len;
                match data.last_mut() {
                    Some(last) if last.end == from => last.end = to,
                    _ => data.push(from..to),
                }
            }
        }
        Disk { size: image.len, data, seed: self.seed() }
    }

    /// Derives from all that the bytes of the image derive from: what the plan says of itself, the literals, and the
    /// hash of each source.
    fn seed(&self) -> [u8; 32] {
        let image = &*self.image;
        let mut hasher = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(ints::to_u64(bytes.len()).to_le_bytes());
            hasher.update(bytes);
        };
        add(&image.len.to_le_bytes());
        for part in &image.parts {
            add(&part.offset.to_le_bytes());
            for extent in part.layout.extents() {
                add(&extent.offset.to_le_bytes());
                add(&extent.len.to_le_bytes());
            }
        }
        // cannot fail: both have string keys only
        let said = serde_json::to_vec(&(&self.summary.identifiers, &self.summary.partitions));
        add(&said.expect("identifiers are JSON"));
        image.literals.iter().for_each(&mut add);
        for source in &image.sources {
            add(source.info.path.base_name().as_bytes());
            add(&source.info.nar_hash);
        }
        hasher.finalize().into()
    }
}
