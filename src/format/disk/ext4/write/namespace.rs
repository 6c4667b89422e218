//! Inodes and names: the tree, numbered and packed into a few flat tables.

use super::options::Error;
use crate::format::disk::ext4::ondisk::block::MAX_FILE;
use crate::format::disk::ext4::ondisk::directory::{FT_DIR, FT_REG_FILE, FT_SYMLINK};
use crate::format::disk::ext4::ondisk::inode::{FIRST_INO, I_BLOCK, ROOT_INO};
use crate::ints;
use crate::tree::{Attrs, Directory, Kind, Node};
use std::ops::Range;

/// The longest symlink target that fits into an inode.
const FAST_SYMLINK: usize = I_BLOCK.len() - 1;

/// What an inode is, with its place in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A regular file: index into [`Namespace::files`].
    File(u32),
    /// A directory: index into [`Namespace::directories`].
    Directory(u32),
    /// A symlink whose target is in the inode.
    FastSymlink(u32, u16),
    /// A symlink with a block of its own: index into [`Namespace::slow_symlinks`].
    SlowSymlink(u32),
}

/// An inode: what its tree says of it, and which table says the rest.
#[derive(Clone, Copy, Debug)]
pub struct Inode {
    /// Owner, permissions, time.
    pub attrs: Attrs,
    /// What it is.
    pub body: Body,
}

/// One name in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Where the name is in [`Namespace::bytes`].
    name: u32,
    /// Its length in bytes, at most 255.
    name_len: u8,
    /// The type in the directory entry: 1 file, 2 directory, 7 symlink.
    pub kind: u8,
    /// The number of its inode.
    pub inode: u32,
}

/// A directory, as a range of the list of entries.
#[derive(Clone, Debug)]
pub struct Dir {
    /// The number of its inode.
    pub inode: u32,
    /// The inode of the one above.
    pub parent: u32,
    /// Its entries in [`Namespace::entries`].
    pub entries: Range<u32>,
    /// How many of them are directories.
    pub subdirectories: u32,
}

/// One regular file.
#[derive(Clone, Copy, Debug)]
pub struct File<C> {
    /// The number of its inode.
    pub inode: u32,
    /// Length in bytes.
    pub len: u64,
    /// Where its bytes are.
    pub content: C,
}

/// One symlink with a block of its own.
#[derive(Clone, Copy, Debug)]
pub struct SlowSymlink {
    /// Where the target is in [`Namespace::bytes`].
    target: u32,
    /// The length of the target in bytes.
    pub len: u16,
}

/// A tree in flat tables. Inodes are numbered in walking order from 12; the root is 2, lost+found 11.
pub struct Namespace<C> {
    /// Inodes from number 12.
    pub inodes: Vec<Inode>,
    /// The root's owner, permissions, time.
    pub root: Attrs,
    /// The directories in walking order, the root first.
    pub directories: Vec<Dir>,
    /// The entries of all directories.
    pub entries: Vec<Entry>,
    /// The files in walking order.
    pub files: Vec<File<C>>,
    /// Those of them that come first on the disk.
    pub front: Range<u32>,
    /// The symlinks with blocks, in walking order.
    pub slow_symlinks: Vec<SlowSymlink>,
    bytes: Vec<u8>,
}

/// The directory whose files come first on the disk, and entries that it has beside its own.
pub struct FrontDirectory<'a, C> {
    /// Its path.
    pub path: &'a str,
    /// Trees that their owner keeps, by name, sorted bytewise.
    pub lent: &'a [Lent<'a, C>],
}

/// A name, and the tree that it stands for.
pub type Lent<'a, C> = (&'a [u8], &'a Node<C>);

impl<C> FrontDirectory<'_, C> {
    /// The entries of a directory in bytewise order, with those that are lent to it.
    fn children<'b>(&'b self, directory: &'b Directory<C>, path: &[u8]) -> Result<Vec<Lent<'b, C>>, Error> {
        let mut children: Vec<Lent<'b, C>> = directory.iter().collect();
        if path == self.path.as_bytes() && !self.lent.is_empty() {
            children.extend_from_slice(self.lent);
            children.sort_by_key(|(name, _)| *name);
            if let Some(twice) = children.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                let path = format!("{}/{}", show(path), show(twice[0].0));
                return Err(Error::Name { path, message: "is there twice" });
            }
        }
        Ok(children)
    }
}

impl<C: Copy> Namespace<C> {
    /// Numbers and packs a tree. The files of the directory `front.path` come first on the disk, and beside its own
    /// entries it has those that are lent.
    pub fn new(root: &Node<C>, front: &FrontDirectory<'_, C>) -> Result<Self, Error> {
        let Kind::Directory(directory) = &root.kind else { return Err(Error::RootKind) };
        if directory.get(b"lost+found").is_some() {
            return Err(Error::Name {
                path: "/lost+found".to_owned(),
                message: "is made by the file system itself",
            });
        }
        let mut space = Self {
            inodes: Vec::new(),
            root: root.attrs,
            directories: Vec::new(),
            entries: Vec::new(),
            files: Vec::new(),
            front: 0..0,
            slow_symlinks: Vec::new(),
            bytes: Vec::new(),
        };
        space.directory(directory, (ROOT_INO, ROOT_INO), &mut Vec::new(), front)?;
        // lost+found comes last in the tables, and counts as a subdirectory of the root.
        let entry = Entry { name: space.keep(b"lost+found")?, name_len: 10, kind: FT_DIR, inode: FIRST_INO };
        space.root_entry(entry);
        space.inodes.shrink_to_fit();
        space.entries.shrink_to_fit();
        space.bytes.shrink_to_fit();
        Ok(space)
    }

    /// How many inodes are used, reserved ones included; also the highest number in use.
    pub fn used_inodes(&self) -> u64 {
        u64::from(FIRST_INO) + ints::to_u64(self.inodes.len())
    }

    /// The name of an entry.
    pub fn name(&self, entry: &Entry) -> &[u8] {
        let from = index(entry.name);
        &self.bytes[from..from + usize::from(entry.name_len)]
    }

    /// The target of a symlink whose target is in the inode.
    pub fn fast_target(&self, at: u32, len: u16) -> &[u8] {
        &self.bytes[index(at)..index(at) + usize::from(len)]
    }

    /// The target of a symlink with a block.
    pub fn slow_target(&self, symlink: &SlowSymlink) -> &[u8] {
        self.fast_target(symlink.target, symlink.len)
    }

    /// Moves the root's entries to the end of the table to add one: they stay one range.
    fn root_entry(&mut self, entry: Entry) {
        let root = &mut self.directories[0];
        let old = index(root.entries.start)..index(root.entries.end);
        let start = count(self.entries.len());
        self.entries.extend_from_within(old);
        self.entries.push(entry);
        root.entries = start..count(self.entries.len());
        root.subdirectories += 1;
    }

    fn directory(
        &mut self,
        directory: &Directory<C>,
        (inode, parent): (u32, u32),
        path: &mut Vec<u8>,
        front: &FrontDirectory<'_, C>,
    ) -> Result<(), Error> {
        let first = self.entries.len();
        let children = front.children(directory, path)?;
        for (name, node) in &children {
            check_name(name, path)?;
            let kind = match node.kind {
                Kind::File { .. } => FT_REG_FILE,
                Kind::Directory(_) => FT_DIR,
                Kind::Symlink(_) => FT_SYMLINK,
            };
            // cannot fail: checked above to be at most 255
            let name_len = u8::try_from(name.len()).unwrap_or(u8::MAX);
            let name = self.keep(name)?;
            self.entries.push(Entry { name, name_len, kind, inode: 0 });
        }
        if u32::try_from(self.entries.len() + 1).is_err() {
            return Err(Error::TooLarge);
        }
        let range = count(first)..count(self.entries.len());
        let subdirectories = count(self.entries[first..].iter().filter(|entry| entry.kind == 2).count());
        self.directories.push(Dir { inode, parent, entries: range, subdirectories });
        for (at, (name, node)) in (first..).zip(&children) {
            let depth = path.len();
            path.push(b'/');
            path.extend_from_slice(name);
            self.entries[at].inode = self.node(node, inode, path, front)?;
            path.truncate(depth);
        }
        Ok(())
    }

    fn node(
        &mut self,
        node: &Node<C>,
        parent: u32,
        path: &mut Vec<u8>,
        front: &FrontDirectory<'_, C>,
    ) -> Result<u32, Error> {
        let number = u32::try_from(self.used_inodes() + 1).map_err(|_| Error::TooLarge)?;
        let slot = self.inodes.len();
        let attrs = node.attrs;
        self.inodes.push(Inode { attrs, body: Body::FastSymlink(0, 0) });
        let body = match &node.kind {
            Kind::File { len, content } => {
                if *len > MAX_FILE {
                    return Err(Error::FileTooLong { path: show(path), len: *len });
                }
                self.files.push(File { inode: number, len: *len, content: *content });
                Body::File(count(self.files.len() - 1))
            }
            Kind::Symlink(target) => self.symlink(target, path)?,
            Kind::Directory(directory) => {
                let (at, first) = (count(self.directories.len()), count(self.files.len()));
                self.directory(directory, (number, parent), path, front)?;
                if path == front.path.as_bytes() {
                    self.front = first..count(self.files.len());
                }
                Body::Directory(at)
            }
        };
        self.inodes[slot].body = body;
        Ok(number)
    }

    fn symlink(&mut self, target: &[u8], path: &[u8]) -> Result<Body, Error> {
        // 4095: the kernel keeps a target with its NUL in one block.
        let len = u16::try_from(target.len()).ok().filter(|len| (1..=4095).contains(len));
        let Some(len) = len.filter(|_| !target.contains(&0)) else {
            return Err(Error::Target { path: show(path), len: target.len() });
        };
        let at = self.keep(target)?;
        if target.len() <= FAST_SYMLINK {
            return Ok(Body::FastSymlink(at, len));
        }
        self.slow_symlinks.push(SlowSymlink { target: at, len });
        Ok(Body::SlowSymlink(count(self.slow_symlinks.len() - 1)))
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<u32, Error> {
        let at = u32::try_from(self.bytes.len()).map_err(|_| Error::TooLarge)?;
        self.bytes.extend_from_slice(bytes);
        Ok(at)
    }
}

fn check_name(name: &[u8], directory: &[u8]) -> Result<(), Error> {
    let message = match name {
        b"" => "is an empty name",
        b"." | b".." => "is not a name",
        _ if name.len() > 255 => "has a name of more than 255 bytes",
        _ if name.contains(&b'/') || name.contains(&0) => "has a slash or a NUL in its name",
        _ => return Ok(()),
    };
    Err(Error::Name { path: format!("{}/{}", show(directory), String::from_utf8_lossy(name)), message })
}

fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// A table index as a `usize`.
pub fn index(n: u32) -> usize {
    ints::to_usize(u64::from(n))
}

/// A table length that was checked to fit; tables never have more entries than there are inodes.
pub fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
