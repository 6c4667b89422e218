//! Reads an archive for its tree.

use super::error::Error;
use super::read::{Event, Reader};
use crate::ints;
use crate::tree::{Directory, Node};
use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files, directories and symlinks of a closure: more than any system has, and about a GB of memory.
const MAX_NODES: u64 = 4_000_000;
/// Bytes of all their names and targets: packed, they can be a thousand times shorter.
const MAX_TEXT: u64 = 128 << 20;

/// What the trees of one closure may still take in memory, whoever reads them.
#[derive(Debug)]
pub struct Room {
    nodes: AtomicU64,
    text: AtomicU64,
}

impl Default for Room {
    fn default() -> Self {
        Self { nodes: MAX_NODES.into(), text: MAX_TEXT.into() }
    }
}

impl Room {
    /// Takes the room of a file, directory or symlink.
    pub(crate) fn node(&self) -> Result<(), String> {
        let left = take(&self.nodes, 1);
        left.ok_or_else(|| format!("the closure has more than {MAX_NODES} files"))
    }

    /// Takes the room of a name or target.
    pub(crate) fn text(&self, text: &[u8]) -> Result<(), String> {
        let left = take(&self.text, ints::to_u64(text.len()));
        left.ok_or_else(|| format!("names and symlinks of the closure have more than {MAX_TEXT} bytes"))
    }
}

/// Takes from what is left, if there is so much.
fn take(left: &AtomicU64, amount: u64) -> Option<()> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount)).ok().map(drop)
}

/// A node with its name.
type Named = (Box<[u8]>, Node<()>);

/// What takes the contents of regular files.
type Take<'a, R, E> = dyn FnMut(&mut Reader<R>, u64) -> Result<(), E> + 'a;

/// Reads an archive for its tree, which takes some of the room; contents are skipped.
pub fn tree<R: BufRead>(reader: &mut Reader<R>, room: &Room) -> Result<Node<()>, Error> {
    tree_with(reader, room, &mut |_, _| Ok(()))
}

/// Reads an archive for its tree; `take` gets each regular file, of that many bytes, when the reader has come to its
/// contents. What it leaves of them is skipped.
pub fn tree_with<R: BufRead, E: From<Error>>(
    reader: &mut Reader<R>,
    room: &Room,
    take: &mut Take<'_, R, E>,
) -> Result<Node<()>, E> {
    let mut open: Vec<Vec<Named>> = Vec::new();
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let mut root = None;
    while let Some(event) = reader.next_event()? {
        let fits = match &event {
            Event::Directory | Event::File { .. } => room.node(),
            Event::Symlink(target) => room.node().and_then(|()| room.text(target)),
            Event::Entry(name) => room.text(name),
            Event::Leave => Ok(()),
        };
        fits.map_err(|message| reader.wrong(message))?;
        let node = match event {
            Event::Directory => {
                open.push(Vec::new());
                continue;
            }
            Event::Entry(name) => {
                names.push(name.into());
                continue;
            }
            Event::File { executable, len } => {
                take(reader, len)?;
                Node::store_file(executable, len, ())
            }
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
    let missing = || Error::Format { at: 0, message: "an archive without a node".to_owned() };
    root.ok_or_else(missing).map_err(E::from)
}
