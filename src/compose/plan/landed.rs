//! What lies in the file of an image before it is planned.

use super::piece::Piece;
use crate::compose::content::Content;
use crate::extent::Fill;
use crate::ints;

/// What lies at its place already, by source.
#[derive(Debug, Default)]
pub struct Landed(pub(crate) Vec<Vec<Piece>>);

/// Which extents of a plan need not be moved.
#[derive(Debug, Default)]
pub struct Settled {
    /// By part and extent.
    pub(crate) done: Vec<Vec<bool>>,
    /// Sources whose contents were verified.
    pub sources: Vec<bool>,
    /// Bytes of what is done.
    pub bytes: u64,
}

impl Settled {
    /// Whether an extent is at its place.
    pub fn has(&self, part: usize, extent: usize) -> bool {
        self.done.get(part).and_then(|done| done.get(extent)).is_some_and(|done| *done)
    }
}

impl Landed {
    /// Holds what was written against a plan; `None` where it does not lie where the plan says.
    pub fn settle(&self, parts: &[super::layout::Part]) -> Option<Settled> {
        let mut next = vec![0; self.0.len()];
        let mut settled = Settled {
            sources: self.0.iter().map(|pieces| !pieces.is_empty()).collect(),
            ..Settled::default()
        };
        for part in parts {
            let extents = part.layout.extents().iter().map(|extent| {
                let Fill::Content { content: Content::Packed { source, file }, at, len } = extent.fill else {
                    return false;
                };
                let source = ints::to_usize(u64::from(source));
                let Some(pieces) = self.0.get(source) else { return false };
                let piece = Piece { offset: part.offset + extent.offset, file, at, len };
                let is_next = pieces.get(next[source]) == Some(&piece);
                next[source] += usize::from(is_next);
                settled.bytes += if is_next { len } else { 0 };
                is_next
            });
            settled.done.push(extents.collect());
        }
        let is_complete = self.0.iter().zip(next).all(|(pieces, next)| next == pieces.len());
        is_complete.then_some(settled)
    }
}
