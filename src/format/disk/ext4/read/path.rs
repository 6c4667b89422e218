//! Paths to inodes. A path never leaves the file system: `..` of the root is the root, `/` in a symlink too.

use super::error::{Error, MAX_SEARCHED, MAX_SYMLINKS};
use super::file_system::Ext4;
use super::inode::{Inode, Kind};
use crate::stream::ReadAt;

impl<R: ReadAt> Ext4<R> {
    /// Gives paths as a system sees them that has this file system mounted at `/NAME`, and another root.
    #[must_use]
    pub fn mounted_at(mut self, name: &'static str) -> Self {
        self.mounted_at = Some(name);
        self
    }

    /// The path at which its own root is: empty, or `/NAME`.
    #[must_use]
    pub fn mount_point(&self) -> String {
        self.mounted_at.map_or_else(String::new, |name| format!("/{name}"))
    }

    /// The inode at an absolute path; symlinks are followed, the last one too.
    pub fn resolve(&self, path: &[u8]) -> Result<Inode, Error> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let mut rest = components(path);
        let mut above = Vec::new();
        let mut here = self.top()?;
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                here = above.pop().unwrap_or(here);
                continue;
            }
            let inode = self.step(here.as_ref(), &name, &shown)?;
            if inode.kind != Kind::Symlink {
                above.push(here.replace(inode));
                continue;
            }
            links += 1;
            if links > MAX_SYMLINKS {
                return Err(Error::TooFar(shown()));
            }
            let target = self.read_link(&inode)?;
            if target.starts_with(b"/") {
                // Back to the top, which is the lowest of the trail.
                above.truncate(1);
                here = above.pop().unwrap_or(here);
            }
            rest.extend(components(&target));
        }
        here.ok_or_else(|| Error::NotFound(shown()))
    }

    /// The contents of a file at a path, which may lead over symlinks; at most `limit` bytes.
    pub fn read_file(&self, path: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let inode = self.resolve(path.as_bytes())?;
        if inode.kind != Kind::File {
            return Err(Error::Kind { path: path.to_owned(), expected: "regular file" });
        }
        if inode.size > limit {
            return Err(Error::TooLong { path: path.to_owned(), len: inode.size, limit });
        }
        self.read_inode(&inode, limit)
    }

    /// The inode at an absolute path, of which no symlink is followed, the last one neither.
    pub fn lookup(&self, path: &[u8]) -> Result<Inode, Error> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let mut here = self.top()?;
        let mut rest = components(path);
        while let Some(name) = rest.pop() {
            here = Some(self.step(here.as_ref(), &name, &shown)?);
        }
        here.ok_or_else(|| Error::NotFound(shown()))
    }

    /// Where paths begin: the root of the file system, or `None` above its mount point.
    fn top(&self) -> Result<Option<Inode>, Error> {
        if self.mounted_at.is_some() { Ok(None) } else { self.root().map(Some) }
    }

    /// One name further.
    fn step(&self, here: Option<&Inode>, name: &[u8], shown: &impl Fn() -> String) -> Result<Inode, Error> {
        let Some(here) = here else {
            let is_own = self.mounted_at.is_some_and(|own| own.as_bytes() == name);
            return if is_own { self.root() } else { Err(Error::NotFound(shown())) };
        };
        if here.kind != Kind::Directory {
            let path = format!("what leads to {}", shown());
            return Err(Error::Kind { path, expected: "directory" });
        }
        let number = self.search(here, name, shown)?.ok_or_else(|| Error::NotFound(shown()))?;
        self.inode(number)
    }

    /// Whether paths are looked for no more.
    #[must_use]
    pub const fn is_exhausted(&self) -> bool {
        self.searched.get() > MAX_SEARCHED
    }

    /// The inode of a name in a directory, for a path that messages show.
    fn search(
        &self,
        directory: &Inode,
        name: &[u8],
        shown: &impl Fn() -> String,
    ) -> Result<Option<u32>, Error> {
        if self.is_exhausted() {
            return Err(Error::Exhausted(shown()));
        }
        let before = self.read.get();
        let found = self.read_dir(directory).and_then(|mut entries| entries.find(name));
        self.searched.set(self.searched.get().saturating_add(self.read.get() - before));
        found
    }
}

/// The names in a path, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}
