//! What lies at a byte of a planned image, for people who are told that it is bad.

use crate::compose::content::Content;
use crate::compose::plan::image::Plan;
use crate::extent::Fill;
use crate::ints;
use crate::tree::{Kind, Node};

impl Plan {
    /// The partition that holds a byte, from 1, and what is there: a file, metadata, zeros; `None` outside of all.
    #[must_use]
    pub fn locate(&self, offset: u64) -> Option<(usize, String)> {
        let partitions = &self.summary.partitions;
        let number = partitions.iter().position(|p| (p.start..p.start + p.len).contains(&offset))? + 1;
        let part = self.image.parts.iter().rev().find(|part| part.offset <= offset)?;
        let at = offset - part.offset;
        let extents = part.layout.extents();
        let index = extents.partition_point(|extent| extent.offset <= at).checked_sub(1)?;
        let extent = extents.get(index).filter(|extent| at < extent.offset + extent.len);
        let what = match extent.map(|extent| extent.fill) {
            Some(Fill::Content { content: Content::Packed { source, file }, .. }) => {
                self.packed(source, file)
            }
            Some(Fill::Content { content: Content::Literal(_), .. }) => {
                "a file of nixflash's own making".to_owned()
            }
            Some(Fill::Encoded) => "metadata of the file system".to_owned(),
            Some(Fill::Zeros) => "zeros of the file system".to_owned(),
            None => "free space".to_owned(),
        };
        Some((number, what))
    }

    /// The path of a regular file of a store path.
    fn packed(&self, source: u32, file: u32) -> String {
        let at = ints::to_usize(u64::from(source));
        let mut path =
            self.image.sources.get(at).map_or_else(String::new, |packed| packed.info.path.to_string());
        if let Some(name) = self.image.trees.get(at).and_then(|tree| nth(tree, file)) {
            path.push_str(&name);
        }
        path
    }
}

/// The path, with a slash before it, of the file of that number in the order of a NAR; empty where the tree is a file.
fn nth<C>(tree: &Node<C>, number: u32) -> Option<String> {
    let mut files = tree.walk().filter(|(_, node)| matches!(node.kind, Kind::File { .. }));
    let (path, _) = files.nth(ints::to_usize(number.into()))?;
    Some(if path.is_empty() { String::new() } else { format!("/{}", String::from_utf8_lossy(&path)) })
}
