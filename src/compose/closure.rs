//! Every tree of a closure at once, with symlinks that lead from one store path into another.

use super::content::Content;
use super::error::Error;
use crate::format::nix::nar::Room;
use crate::format::nix::store_path::{STORE_DIR, StorePath};
use crate::ints;
use crate::store;
use crate::store::{PathInfo, Payload, Store};
use crate::tree::{Kind, Node};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

/// The longest small file that is read while planning, in bytes.
const SMALL_FILE: u64 = 4 << 20;

/// How many symlinks a path may lead over, as in Linux.
const MAX_SYMLINKS: u32 = 40;

/// Where a packed tree comes from.
pub enum Origin {
    /// One of the stores.
    Store(usize),
    /// A directory outside any store.
    Directory(PathBuf),
}

/// A store path, or a package of firmware from outside a store.
pub struct Packed {
    /// What is known of it; for a package outside a store the hash was computed while planning.
    pub info: PathInfo,
    /// Where it is.
    pub origin: Origin,
}

/// All that may be copied onto a card.
pub struct Forest {
    /// Stores, by their index in [`Origin`].
    pub stores: Vec<Box<dyn Store>>,
    /// Sources, by their index in [`Content`]: the closure first, sorted by path.
    pub sources: Vec<Packed>,
    trees: Vec<Node<Content>>,
    by_path: BTreeMap<StorePath, u32>,
    /// What more trees may take in memory.
    pub room: Room,
    /// What the user should know of the stores.
    pub notes: Vec<String>,
}

/// What is left of a [`Forest`] once all is decided.
pub struct Parts {
    /// The stores.
    pub stores: Vec<Box<dyn Store>>,
    /// Sources, by their index in [`Content`].
    pub sources: Vec<Packed>,
    /// The trees of the sources, in their order.
    pub trees: Vec<Node<Content>>,
}

/// A file or directory found by its absolute path.
pub struct Found<'a> {
    /// Its path after all symlinks: `/nix/store/...`.
    pub path: String,
    /// What it is; never a symlink.
    pub node: &'a Node<Content>,
}

impl Forest {
    /// Nothing yet, for what is only in stores.
    pub fn empty(stores: Vec<Box<dyn Store>>) -> Self {
        let room = Room::default();
        Self {
            stores,
            sources: Vec::new(),
            trees: Vec::new(),
            by_path: BTreeMap::new(),
            room,
            notes: Vec::new(),
        }
    }

    /// Adds a source from outside the closure and gives its index.
    pub fn add(&mut self, packed: Packed, tree: Node<()>) -> Result<u32, Error> {
        let too_many = || Error::TooMany(packed.info.path.to_string());
        let source = u32::try_from(self.sources.len()).map_err(|_| too_many())?;
        let mut next = Some(0u32);
        let tree = tree.map(&mut |()| {
            let file = next.unwrap_or(u32::MAX);
            next = next.and_then(|n| n.checked_add(1));
            Content::Packed { source, file }
        });
        next.ok_or_else(too_many)?;
        self.by_path.insert(packed.info.path.clone(), source);
        self.sources.push(packed);
        self.trees.push(tree);
        Ok(source)
    }

    /// The tree of a source.
    pub fn tree(&self, source: u32) -> &Node<Content> {
        &self.trees[ints::to_usize(u64::from(source))]
    }

    /// The source that is this store path.
    pub fn source(&self, path: &StorePath) -> Option<u32> {
        self.by_path.get(path).copied()
    }

    /// Follows an absolute path and every symlink on the way; `None` when it leads nowhere or out of the store.
    pub fn resolve(&self, path: &str) -> Option<Found<'_>> {
        let mut rest: Vec<Vec<u8>> = components(path.as_bytes()).rev().map(<[u8]>::to_vec).collect();
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                done.pop();
                continue;
            }
            done.push(name);
            let Some(Kind::Symlink(target)) = self.node_at(&done).map(|node| &node.kind) else { continue };
            links += 1;
            if links > MAX_SYMLINKS {
                return None;
            }
            done.pop();
            if target.starts_with(b"/") {
                done.clear();
            }
            rest.extend(components(target).rev().map(<[u8]>::to_vec));
        }
        let path =
            String::from_utf8(done.iter().flat_map(|name| [b"/", &name[..]].concat()).collect()).ok()?;
        Some(Found { path, node: self.node_at(&done)? })
    }

    /// The node at a path without symlinks, below `/nix/store`.
    fn node_at(&self, names: &[Vec<u8>]) -> Option<&Node<Content>> {
        let [nix, store, base, inner @ ..] = names else { return None };
        if [b"/", &nix[..], b"/", store].concat() != STORE_DIR.as_bytes() {
            return None;
        }
        let path = StorePath::from_base_name(std::str::from_utf8(base).ok()?).ok()?;
        self.tree(self.source(&path)?).at(inner.iter().map(Vec::as_slice))
    }

    /// Reads a small file, `None` when there is none at that path.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(found) = self.resolve(path) else { return Ok(None) };
        let Kind::File { len, content: Content::Packed { source, file } } = found.node.kind else {
            return Ok(None);
        };
        if len > SMALL_FILE {
            let message = format!("has {len} bytes, expected at most {SMALL_FILE}");
            return Err(Error::Toplevel { path: found.path, message });
        }
        let mut payload = self.open(source)?;
        let mut bytes = Vec::new();
        let mut at = 0;
        while payload.next_file()?.is_some() {
            if at == file {
                loop {
                    let chunk = payload.chunk()?;
                    let len = chunk.len();
                    bytes.extend_from_slice(chunk);
                    if len == 0 {
                        return Ok(Some(bytes));
                    }
                    payload.consume(len);
                }
            }
            at += 1;
        }
        Ok(Some(bytes))
    }

    /// Reads a small text file without the white space at its end.
    pub fn read_text(&self, path: &str) -> Result<Option<String>, Error> {
        let Some(bytes) = self.read(path)? else { return Ok(None) };
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::Toplevel { path: path.to_owned(), message: "is not UTF-8".to_owned() })?;
        Ok(Some(text.trim_end().to_owned()))
    }

    /// Opens a file of any length, `None` when there is none at that path.
    pub fn open_file(&self, path: &str) -> Result<Option<Box<dyn BufRead + Send + '_>>, Error> {
        let Some(found) = self.resolve(path) else { return Ok(None) };
        let Kind::File { content: Content::Packed { source, file }, .. } = found.node.kind else {
            return Ok(None);
        };
        let mut payload = self.open(source)?;
        for _ in 0..=file {
            if payload.next_file()?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(Box::new(FileReader(payload))))
    }

    /// The names in a directory, in order; none where there is no such directory.
    pub fn names(&self, path: &str) -> Vec<String> {
        match self.resolve(path).map(|found| &found.node.kind) {
            Some(Kind::Directory(directory)) => {
                directory.iter().filter_map(|(name, _)| String::from_utf8(name.to_vec()).ok()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Opens the contents of a source.
    pub fn open(&self, source: u32) -> Result<Payload<'_, Content>, Error> {
        open(&self.stores, &self.sources[ints::to_usize(u64::from(source))], self.tree(source))
    }

    /// Gives away what a plan is moved from.
    pub fn into_parts(self) -> Parts {
        Parts { stores: self.stores, sources: self.sources, trees: self.trees }
    }
}

/// What is left of the current file of a payload.
struct FileReader<'a>(Payload<'a, Content>);

impl Read for FileReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let chunk = self.0.chunk().map_err(io::Error::other)?;
        let len = chunk.len().min(buf.len());
        buf[..len].copy_from_slice(&chunk[..len]);
        self.0.consume(len);
        Ok(len)
    }
}

impl BufRead for FileReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.chunk().map_err(io::Error::other)
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

/// Opens the contents of a source, checked against its tree and its hash on the way.
pub fn open<'a>(
    stores: &[Box<dyn Store>],
    packed: &'a Packed,
    tree: &'a Node<Content>,
) -> Result<Payload<'a, Content>, Error> {
    let reader: Box<dyn BufRead + Send> = match &packed.origin {
        Origin::Store(at) => stores[*at].open_nar(&packed.info.path)?,
        Origin::Directory(path) => store::open_directory_nar(path)?,
    };
    Ok(Payload::new(reader, &packed.info, tree))
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".")
}
