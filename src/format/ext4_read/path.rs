//! Paths to inodes. A path never leaves the file system: `..` of the root is the root, `/` in a symlink too.

use super::{Error, Ext4, Inode, Kind};
use crate::stream::ReadAt;

/// How many symlinks a path may lead over, as in Linux.
pub(super) const MAX_SYMLINKS: u32 = 40;
/// How many bytes of directories are read for one path: bounds what a hostile file system makes a reader do.
const MAX_SCANNED: u64 = 1 << 30;

impl<R: ReadAt> Ext4<R> {
    /// The inode at an absolute path; symlinks are followed, the last one too.
    pub fn resolve(&self, path: &[u8]) -> Result<Inode, Error> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let mut rest = components(path);
        let mut above = Vec::new();
        let mut here = self.root()?;
        let (mut links, mut scanned) = (0, 0u64);
        while let Some(name) = rest.pop() {
            if here.kind != Kind::Directory {
                return Err(Error::Kind {
                    path: format!("what leads to {}", shown()),
                    expected: "directory",
                });
            }
            if name == b".." {
                here = above.pop().unwrap_or(here);
                continue;
            }
            scanned = scanned.saturating_add(here.size);
            if scanned > MAX_SCANNED {
                return Err(Error::TooFar(shown()));
            }
            let number = self.find(&here, &name)?.ok_or_else(|| Error::NotFound(shown()))?;
            let inode = self.inode(number)?;
            if inode.kind != Kind::Symlink {
                above.push(std::mem::replace(&mut here, inode));
                continue;
            }
            links += 1;
            if links > MAX_SYMLINKS {
                return Err(Error::TooFar(shown()));
            }
            let target = self.read_link(&inode)?;
            if target.starts_with(b"/") {
                // Back to the root, which is the lowest of the trail.
                above.truncate(1);
                here = above.pop().unwrap_or(here);
            }
            rest.extend(components(&target));
        }
        Ok(here)
    }

    /// The inode at an absolute path, of which no symlink is followed, the last one neither.
    pub fn lookup(&self, path: &[u8]) -> Result<Inode, Error> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let mut inode = self.root()?;
        let mut rest = components(path);
        while let Some(name) = rest.pop() {
            if inode.kind != Kind::Directory {
                return Err(Error::Kind {
                    path: format!("what leads to {}", shown()),
                    expected: "directory",
                });
            }
            let number = self.find(&inode, &name)?.ok_or_else(|| Error::NotFound(shown()))?;
            inode = self.inode(number)?;
        }
        Ok(inode)
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
