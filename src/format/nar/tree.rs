//! Reads an archive for its tree.

use super::{Error, Event, Reader};
use crate::tree::{Directory, Node};
use std::io::BufRead;

/// Files, directories and symlinks that a tree is read of: far more than any store path has, and a bound for the memory
/// that a small compressed archive of nothing but names can take.
const MAX_NODES: usize = 2_000_000;

/// A node with its name.
type Named = (Box<[u8]>, Node<()>);

/// Reads an archive for its tree; contents are skipped.
pub fn tree<R: BufRead>(reader: &mut Reader<R>) -> Result<Node<()>, Error> {
    let mut open: Vec<Vec<Named>> = Vec::new();
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let mut root = None;
    let mut nodes = 0;
    while let Some(event) = reader.next_event()? {
        nodes += 1;
        if nodes > 2 * MAX_NODES {
            return Err(reader.wrong(format!("more than {MAX_NODES} files")));
        }
        let node = match event {
            Event::Directory => {
                open.push(Vec::new());
                continue;
            }
            Event::Entry(name) => {
                names.push(name.into());
                continue;
            }
            Event::File { executable, len } => Node::store_file(executable, len, ()),
            Event::Symlink(target) => Node::store_symlink(target),
            // cannot fail: the reader gives as many ends as beginnings, and no name twice
            Event::Leave => Node::store_directory(
                Directory::from_entries(open.pop().unwrap_or_default()).unwrap_or_default(),
            ),
        };
        match (open.last_mut(), names.pop()) {
            (Some(directory), Some(name)) => directory.push((name, node)),
            _ => root = Some(node),
        }
    }
    // cannot fail: an archive has a node, or an error came before
    root.ok_or(Error::Format { at: 0, message: "an archive without a node".to_owned() })
}
