//! Walking a whole tree.

use super::directory::{Entries, Entry};
use super::error::Error;
use super::file_system::Ext4;
use super::inode::{Inode, Kind};
use crate::stream::ReadAt;
use std::collections::BTreeSet;

/// The longest path that Linux accepts.
const MAX_PATH: usize = 4096;

/// Something that a walk has come to.
#[derive(Clone, Debug)]
pub struct Found {
    /// The path, without a slash at its beginning, relative to where the walk began.
    pub path: Vec<u8>,
    /// What is there.
    pub inode: Inode,
}

/// A directory that was seen: the number of its parent in the list of those, and its name.
struct Place {
    parent: usize,
    name: Vec<u8>,
    inode: Inode,
}

/// All that is below a directory, each directory before what is in it. Symlinks are not followed.
///
/// It goes on after an error, which is one of a single entry or directory; it ends all the same, for each directory is
/// entered once, and together they are not longer than the file system.
pub struct Walk<'a, R> {
    fs: &'a Ext4<R>,
    /// All directories seen so far; paths are put together from these.
    places: Vec<Place>,
    /// Those not entered yet.
    open: Vec<usize>,
    /// Where the walk is: the place, its path, its entries.
    here: Option<(usize, Vec<u8>, Entries<'a, R>)>,
    seen: BTreeSet<u32>,
    /// How many more bytes of directories there can be.
    left: u64,
    /// The directory that is not entered.
    passed: Option<u32>,
    /// The parent of where it began, where the form of directories is checked.
    parent: Option<u32>,
}

impl<R: ReadAt> Ext4<R> {
    /// Walks the tree below a directory, which itself is not given.
    pub fn walk(&self, directory: &Inode) -> Walk<'_, R> {
        let place = Place { parent: 0, name: Vec::new(), inode: directory.clone() };
        Walk {
            fs: self,
            places: vec![place],
            open: vec![0],
            here: None,
            seen: BTreeSet::from([directory.number]),
            left: self.superblock.bytes(),
            passed: None,
            parent: None,
        }
    }
}

impl<R: ReadAt> Iterator for Walk<'_, R> {
    type Item = Result<Found, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((place, path, entries)) = &mut self.here else {
                match self.enter(self.open.last().copied()?) {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            let place = *place;
            match entries.next() {
                Some(Ok(entry)) => {
                    let separator = usize::from(!path.is_empty());
                    let mut full = Vec::with_capacity(path.len() + separator + entry.name.len());
                    full.extend_from_slice(path);
                    full.extend(std::iter::repeat_n(b'/', separator));
                    full.extend_from_slice(&entry.name);
                    return Some(self.found(place, full, entry));
                }
                Some(Err(error)) => return Some(Err(error)),
                None => self.here = None,
            }
        }
    }
}

impl<R> Walk<'_, R> {
    /// Does not enter a directory, which is given all the same.
    #[must_use]
    pub fn passing_over(mut self, directory: u32) -> Self {
        self.passed = Some(directory);
        self
    }

    /// Lets each directory that has not the plain form be an error; `parent` is the one of where the walk began.
    #[must_use]
    pub const fn checked(mut self, parent: u32) -> Self {
        self.parent = Some(parent);
        self
    }
}

impl<R: ReadAt> Walk<'_, R> {
    /// Enters the last of the open directories.
    fn enter(&mut self, place: usize) -> Result<(), Error> {
        self.open.pop();
        let fs = self.fs;
        let inode = &self.places[place].inode;
        let damaged = |what: &str| Error::Damaged(format!("the directory in inode {} {what}", inode.number));
        let left = self.left.checked_sub(inode.size);
        let left = left.ok_or_else(|| damaged("is longer than the file system has room for"))?;
        if let Some(top) = self.parent {
            let parent = if place == 0 { top } else { self.places[self.places[place].parent].inode.number };
            fs.check_directory(inode, parent)?;
        }
        let entries = fs.read_dir(inode)?;
        let path = self.path(place).ok_or_else(|| damaged("has a path of more than 4096 bytes"))?;
        self.left = left;
        self.here = Some((place, path, entries));
        Ok(())
    }

    fn found(&mut self, parent: usize, path: Vec<u8>, entry: Entry) -> Result<Found, Error> {
        let Entry { name, inode: number, says } = entry;
        let inode = self.fs.inode(number)?;
        if self.parent.is_some() {
            self.fs.check_type(&inode, says)?;
        }
        if inode.kind == Kind::Directory && self.passed != Some(number) {
            if !self.seen.insert(number) {
                let path = String::from_utf8_lossy(&path).into_owned();
                return Err(Error::Damaged(format!("{path:?} is a directory that has another name already")));
            }
            self.open.push(self.places.len());
            self.places.push(Place { parent, name, inode: inode.clone() });
        }
        Ok(Found { path, inode })
    }

    /// The path of a place, or `None` when it is too long.
    fn path(&self, place: usize) -> Option<Vec<u8>> {
        let (mut names, mut at, mut len) = (Vec::new(), place, 0);
        while at != 0 {
            let Place { parent, name, .. } = &self.places[at];
            len += name.len() + 1;
            if len > MAX_PATH {
                return None;
            }
            names.push(&name[..]);
            at = *parent;
        }
        names.reverse();
        Some(names.join(&b'/'))
    }
}
