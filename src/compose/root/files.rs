//! A tree under construction: directories made on the way, files of nixflash's own making, copies out of the store.

use crate::compose::content::Content;
use crate::compose::error::Error;
use crate::num;
use crate::tree::{Attrs, Directory, Kind, Node};

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
        let slot = &mut self.0[num::to_usize(u64::from(index))];
        let bytes = bytes.into();
        debug_assert_eq!(slot.len(), bytes.len());
        *slot = bytes;
    }

    /// The bytes at an index that `keep` gave.
    pub fn get(&self, index: u32) -> &[u8] {
        &self.0[num::to_usize(u64::from(index))]
    }
}

/// A tree under construction.
pub struct Files {
    root: Node<Content>,
    epoch: u32,
}

impl Files {
    /// An empty root directory; what is made gets `epoch` as its time.
    pub fn new(epoch: u32) -> Self {
        let attrs = Attrs { mode: 0o755, uid: 0, gid: 0, mtime: epoch };
        Self { root: Node { attrs, kind: Kind::Directory(Directory::default()) }, epoch }
    }

    /// The tree so far.
    pub const fn root(&self) -> &Node<Content> {
        &self.root
    }

    /// The finished tree.
    pub fn into_root(self) -> Node<Content> {
        self.root
    }

    /// The finished tree below a directory, without what is beside it.
    pub fn into_subtree(self, path: &str) -> Node<Content> {
        let attrs = self.attrs(0o755);
        let mut node = self.root;
        for name in names(path) {
            let Kind::Directory(directory) = node.kind else { break };
            let child = directory.into_entries().into_iter().find(|(entry, _)| **entry == *name.as_bytes());
            let empty = Node { attrs, kind: Kind::Directory(Directory::default()) };
            node = child.map_or(empty, |(_, child)| child);
        }
        node
    }

    /// What stands at a path.
    pub fn get(&self, path: &str) -> Option<&Node<Content>> {
        self.root.at(names(path).map(str::as_bytes))
    }

    /// Makes sure that a directory and those above it exist; new ones are 0755.
    pub fn directory(&mut self, path: &str) -> Result<(), Error> {
        self.open(path).map(drop)
    }

    /// Makes a directory with a mode and a group; it must not exist with entries of another kind.
    pub fn directory_with(&mut self, path: &str, mode: u16, gid: u32) -> Result<(), Error> {
        self.open(path)?;
        // cannot fail: open made it
        let node = self.get_mut(path).expect("the directory was just made");
        node.attrs.mode = mode;
        node.attrs.gid = gid;
        Ok(())
    }

    /// Adds a file of nixflash's own making, 0644.
    pub fn literal(&mut self, path: &str, bytes: &[u8], literals: &mut Literals) -> Result<(), Error> {
        self.literal_with(path, bytes, 0o644, literals)
    }

    /// Adds a file of nixflash's own making with a mode.
    pub fn literal_with(
        &mut self,
        path: &str,
        bytes: &[u8],
        mode: u16,
        literals: &mut Literals,
    ) -> Result<(), Error> {
        let kind = Kind::File { len: num::to_u64(bytes.len()), content: literals.keep(bytes) };
        self.put(path, Node { attrs: self.attrs(mode), kind })
    }

    /// Adds a file of nixflash's own making, 0644, whose bytes are settled later; gives the index of their literal.
    pub fn room(&mut self, path: &str, len: usize, literals: &mut Literals) -> Result<u32, Error> {
        let content = literals.keep(vec![b' '; len]);
        let kind = Kind::File { len: num::to_u64(len), content };
        self.put(path, Node { attrs: self.attrs(0o644), kind })?;
        match content {
            Content::Literal(index) => Ok(index),
            Content::Packed { .. } => unreachable!("kept bytes are a literal"),
        }
    }

    /// Adds a symlink.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), Error> {
        let kind = Kind::Symlink(target.as_bytes().into());
        self.put(path, Node { attrs: self.attrs(0o777), kind })
    }

    /// Adds a copy of a file or directory of the store, with the modes it has there and the time of the image.
    pub fn copy(&mut self, path: &str, node: &Node<Content>) -> Result<(), Error> {
        let copy = self.dated(node);
        self.put(path, copy)
    }

    /// Adds a node as it is.
    pub fn put(&mut self, path: &str, node: Node<Content>) -> Result<(), Error> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = self.open(parent)?;
        directory.insert(name.as_bytes(), node).map_err(|_| Error::Twice(path.to_owned()))
    }

    fn attrs(&self, mode: u16) -> Attrs {
        Attrs { mode, uid: 0, gid: 0, mtime: self.epoch }
    }

    /// A copy with the time of the image; depth is bounded by that of a NAR.
    fn dated(&self, node: &Node<Content>) -> Node<Content> {
        let kind = match &node.kind {
            Kind::Directory(directory) => {
                let mut copy = Directory::default();
                for (name, child) in directory.iter() {
                    // cannot clash: the names of a directory are distinct
                    drop(copy.insert(name, self.dated(child)));
                }
                Kind::Directory(copy)
            }
            other => other.clone(),
        };
        Node { attrs: self.attrs(node.attrs.mode), kind }
    }

    fn get_mut(&mut self, path: &str) -> Option<&mut Node<Content>> {
        let mut node = &mut self.root;
        for name in names(path) {
            let Kind::Directory(directory) = &mut node.kind else { return None };
            node = directory.get_mut(name.as_bytes())?;
        }
        Some(node)
    }

    fn open(&mut self, path: &str) -> Result<&mut Directory<Content>, Error> {
        let attrs = self.attrs(0o755);
        let mut node = &mut self.root;
        for name in names(path) {
            let Kind::Directory(directory) = &mut node.kind else {
                return Err(Error::Twice(path.to_owned()));
            };
            if directory.get(name.as_bytes()).is_none() {
                let empty = Node { attrs, kind: Kind::Directory(Directory::default()) };
                // cannot clash: just looked
                drop(directory.insert(name.as_bytes(), empty));
            }
            // cannot fail: there before, or just inserted
            node = directory.get_mut(name.as_bytes()).expect("the entry is there");
        }
        match &mut node.kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File { .. } | Kind::Symlink(_) => Err(Error::Twice(path.to_owned())),
        }
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}
