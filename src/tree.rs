//! A file-system tree whose file contents are elsewhere.
//!
//! `C` says where: a number, a pair of numbers, `()`. Names and symlink targets are bytes, never text. Entries are
//! sorted bytewise, which is the order of a NAR; a tree is walked and laid out in this order everywhere.

/// Owner, permissions and modification time of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attrs {
    /// The low twelve bits of `st_mode`: permissions, setuid, setgid, sticky.
    pub mode: u16,
    /// The number of the owner, as `/etc/passwd` has it.
    pub uid: u32,
    /// The number of the group, as `/etc/group` has it.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub mtime: u32,
}

impl Attrs {
    /// What Nix gives to every object below `/nix/store`: 0:0, mtime 1, and the given mode.
    #[must_use]
    pub const fn store(mode: u16) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: 1 }
    }
}

/// One file, directory or symlink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node<C> {
    /// Owner, permissions, time.
    pub attrs: Attrs,
    /// What it is.
    pub kind: Kind<C>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<C> {
    /// A regular file of `len` bytes, found at `content`.
    File {
        /// Length in bytes.
        len: u64,
        /// Where the bytes are.
        content: C,
    },
    /// A symlink with its target as written.
    Symlink(Box<[u8]>),
    /// A directory.
    Directory(Directory<C>),
}

/// The entries of a directory, sorted bytewise by name, each name once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory<C> {
    entries: Vec<(Box<[u8]>, Node<C>)>,
}

impl<C> Default for Directory<C> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<C> Directory<C> {
    /// Makes a directory out of entries in any order; gives back the name that occurs twice, if one does.
    pub fn from_entries(mut entries: Vec<(Box<[u8]>, Node<C>)>) -> Result<Self, Box<[u8]>> {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(pair[0].0.clone());
        }
        entries.shrink_to_fit();
        Ok(Self { entries })
    }

    /// Adds an entry, or gives back the node when the name is taken.
    pub fn insert(&mut self, name: &[u8], node: Node<C>) -> Result<(), Node<C>> {
        match self.position(name) {
            Ok(_) => Err(node),
            Err(at) => {
                self.entries.insert(at, (name.into(), node));
                Ok(())
            }
        }
    }

    /// Gives the entries away.
    #[must_use]
    pub fn into_entries(self) -> Vec<(Box<[u8]>, Node<C>)> {
        self.entries
    }

    /// The node of that name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Node<C>> {
        self.position(name).ok().map(|at| &self.entries[at].1)
    }

    /// The node of that name, to change.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut Node<C>> {
        self.position(name).ok().map(|at| &mut self.entries[at].1)
    }

    /// Entries in bytewise order of their names.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &Node<C>)> + ExactSizeIterator {
        self.entries.iter().map(|(name, node)| (&**name, node))
    }

    /// The entry at a position, counted from 0 in bytewise order.
    #[must_use]
    pub fn nth(&self, at: usize) -> Option<(&[u8], &Node<C>)> {
        self.entries.get(at).map(|(name, node)| (&**name, node))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|(n, _)| (**n).cmp(name))
    }
}

impl<C> Node<C> {
    /// A regular file as a NAR knows it: 0444, or 0555 when executable; 0:0, mtime 1.
    pub const fn store_file(executable: bool, len: u64, content: C) -> Self {
        let mode = if executable { 0o555 } else { 0o444 };
        Self { attrs: Attrs::store(mode), kind: Kind::File { len, content } }
    }

    /// A symlink as a NAR knows it.
    pub fn store_symlink(target: impl Into<Box<[u8]>>) -> Self {
        Self { attrs: Attrs::store(0o777), kind: Kind::Symlink(target.into()) }
    }

    /// A directory as a NAR knows it: 0555.
    pub const fn store_directory(directory: Directory<C>) -> Self {
        Self { attrs: Attrs::store(0o555), kind: Kind::Directory(directory) }
    }

    /// Whether the owner may execute it: the only mode bit that a NAR keeps.
    #[must_use]
    pub const fn is_executable(&self) -> bool {
        self.attrs.mode & 0o100 != 0
    }

    /// The node at a path relative to this one; no symlink is followed.
    pub fn at<'a>(&self, path: impl IntoIterator<Item = &'a [u8]>) -> Option<&Self> {
        let mut node = self;
        for name in path {
            let Kind::Directory(directory) = &node.kind else { return None };
            node = directory.get(name)?;
        }
        Some(node)
    }

    /// This node and all below it, in walking order: a directory before what is in it, entries bytewise by name.
    pub fn walk(&self) -> Walk<'_, C> {
        Walk { open: vec![(Vec::new(), self)] }
    }

    /// The same tree with every content replaced by `f`, which sees the contents in walking order.
    pub fn map<D>(self, f: &mut impl FnMut(C) -> D) -> Node<D> {
        let kind = match self.kind {
            Kind::File { len, content } => Kind::File { len, content: f(content) },
            Kind::Symlink(target) => Kind::Symlink(target),
            Kind::Directory(directory) => Kind::Directory(Directory {
                entries: directory.entries.into_iter().map(|(name, node)| (name, node.map(f))).collect(),
            }),
        };
        Node { attrs: self.attrs, kind }
    }
}

/// All nodes of a tree, each with its path from the root of the tree: empty, or names between slashes.
#[derive(Debug)]
pub struct Walk<'a, C> {
    /// What was seen and not given yet, the next one last.
    open: Vec<(Vec<u8>, &'a Node<C>)>,
}

impl<'a, C> Iterator for Walk<'a, C> {
    type Item = (Vec<u8>, &'a Node<C>);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, node) = self.open.pop()?;
        if let Kind::Directory(directory) = &node.kind {
            let below = directory.iter().rev().map(|(name, child)| {
                let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                ([&path[..], slash, name].concat(), child)
            });
            self.open.extend(below);
        }
        Some((path, node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_comes_to_every_node_in_the_order_of_a_nar() {
        let file = |len| Node::store_file(false, len, ());
        let directory = |entries: Vec<(&str, Node<()>)>| {
            let entries = entries.into_iter().map(|(name, node)| (name.as_bytes().into(), node)).collect();
            Node::store_directory(Directory::from_entries(entries).unwrap())
        };
        let inner = directory(vec![("z", file(1)), ("a", Node::store_symlink(*b"z"))]);
        let tree = directory(vec![("b.c", file(2)), ("b", inner), ("c", directory(vec![]))]);
        let paths: Vec<_> = tree.walk().map(|(path, _)| String::from_utf8(path).unwrap()).collect();
        assert_eq!(paths, ["", "b", "b/a", "b/z", "b.c", "c"]);
        assert_eq!(file(3).walk().count(), 1);
    }
}
