//! File systems on a card, opened whatever they are, and what is asked of each of them.

use super::report::FileSystem;
use super::report::State;
use crate::format::disk::ext4::read as ext4_read;
use crate::format::disk::ext4::read::{Ext4, Kind};
use crate::format::disk::fat::read;
use crate::format::disk::fat::read::{FileRef, Volume as Fat};
use crate::stream::{ReadAt, Window};
use crate::tree::{self, Node};
use std::io::{self, Cursor, Read};

/// The most names of a directory that are looked at.
const MAX_NAMES: usize = 10_000;

/// A partition, or the whole image.
pub type Part<'a> = Window<&'a dyn ReadAt>;

/// A file system that was opened.
pub enum Volume<'a> {
    /// ext2, ext3 or ext4.
    Ext4(Box<Ext4<Part<'a>>>),
    /// A FAT.
    Fat(Box<Fat<Part<'a>>>),
    /// The files of a machine that runs.
    Machine(&'a dyn Machine),
}

/// The files of a machine, from its root; symlinks lead on.
pub trait Machine {
    /// The contents of a file of at most `limit` bytes; `None` when there is none.
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>>;
    /// The names in a directory, none when there is no directory.
    fn names(&self, path: &str) -> io::Result<Vec<String>>;
    /// The target of a symlink; `None` when there is no symlink.
    fn link(&self, path: &str) -> io::Result<Option<String>>;
    /// Whether nothing is at a path.
    fn lacks(&self, path: &str) -> bool;
}

/// What is said of a volume that cannot be read, or of a file on it.
pub type Fault = String;

/// Opens the file system in a part of an image; `None` when there is none that is known.
pub fn open(part: Part<'_>) -> Result<Option<Volume<'_>>, Fault> {
    // A journal that cannot be replayed hides the newest changes, and nothing else.
    let opened = Ext4::open_replayed(part);
    let opened = if opened.is_err() { Ext4::open(part) } else { opened };
    match opened {
        Ok(ext4) => return Ok(Some(Volume::Ext4(Box::new(ext4)))),
        Err(ext4_read::Error::None) => {}
        Err(error) => return Err(error.to_string()),
    }
    match read::open(part) {
        Ok(fat) => Ok(Some(Volume::Fat(Box::new(fat)))),
        Err(read::Error::Boot { .. }) if !claims_fat(part) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether the boot sector calls itself a FAT, so that damage to the rest of it is worth a word.
fn claims_fat(part: Part<'_>) -> bool {
    let mut sector = [0; 512];
    part.read_exact_at(&mut sector, 0).is_ok() && (&sector[54..57] == b"FAT" || &sector[82..85] == b"FAT")
}

/// The length of a file, and its contents.
type OpenFile<'a> = (u64, Box<dyn Read + 'a>);

impl Volume<'_> {
    /// As a system sees it that boots from it: where its root is in memory, an ext4 is what it mounts at `/nix`.
    pub fn mounted(self) -> Self {
        match self {
            Self::Ext4(ext4) if is_nix_alone(&ext4) => Self::Ext4(Box::new(ext4.mounted_at("nix"))),
            other => other,
        }
    }

    /// What the file system says of itself; a machine has several, which say nothing.
    pub fn describe(&self) -> Option<FileSystem> {
        match self {
            Self::Ext4(ext4) => Some(of_ext4(ext4)),
            Self::Fat(fat) => Some(of_fat(fat)),
            Self::Machine(_) => None,
        }
    }

    /// What a journal that has to be replayed means for what is shown.
    pub fn replay_note(&self) -> Fault {
        let is_replayed = matches!(self, Volume::Ext4(ext4) if ext4.replayed().transactions() > 0);
        let when = if is_replayed { "after" } else { "before" };
        format!("its journal has to be replayed; what is shown is from {when}")
    }

    /// The contents of a file, or `None` when there is none.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Fault> {
        match self {
            Self::Ext4(ext4) => match ext4.read_file(path, limit) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(ext4_read::Error::NotFound(_)) => Ok(None),
                Err(error) => Err(format!("{path}: {error}")),
            },
            Self::Fat(fat) => match fat.read(path.trim_start_matches('/'), limit) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(read::Error::NoFile { .. }) => Ok(None),
                Err(error) => Err(error.to_string()),
            },
            Self::Machine(machine) => machine.read(path, limit).map_err(|error| format!("{path}: {error}")),
        }
    }

    /// The text of a file; what is no UTF-8 is replaced.
    pub fn text(&self, path: &str, limit: u64) -> Result<Option<String>, Fault> {
        Ok(self.read(path, limit)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The length of a file and its contents, where they can be read piece by piece and not only as a whole.
    pub fn open_file(&self, path: &str, limit: u64) -> Result<Option<OpenFile<'_>>, Fault> {
        let ext4 = match self {
            Self::Ext4(ext4) => ext4,
            Self::Fat(_) => return Ok(None),
            Self::Machine(_) => {
                let bytes = self.read(path, limit)?;
                return Ok(bytes.map(|bytes| -> OpenFile<'_> {
                    (crate::ints::to_u64(bytes.len()), Box::new(Cursor::new(bytes)))
                }));
            }
        };
        let shown = |error: ext4_read::Error| format!("{path}: {error}");
        let inode = match ext4.resolve(path.as_bytes()) {
            Err(ext4_read::Error::NotFound(_)) => return Ok(None),
            found => found.map_err(shown)?,
        };
        if inode.size > limit {
            return Err(shown(ext4_read::Error::TooLong { path: path.to_owned(), len: inode.size, limit }));
        }
        Ok(Some((inode.size, Box::new(ext4.open_file(&inode).map_err(shown)?))))
    }

    /// Whether its directories are so large that files are looked for no more.
    pub fn is_exhausted(&self) -> bool {
        matches!(self, Self::Ext4(ext4) if ext4.is_exhausted())
    }

    /// Whether nothing is at a path. What cannot be read is there.
    pub fn lacks(&self, path: &str) -> bool {
        match self {
            Self::Ext4(ext4) => {
                matches!(ext4.resolve(path.as_bytes()), Err(ext4_read::Error::NotFound(_)))
            }
            Self::Fat(fat) => fat_node(fat, path).is_none(),
            Self::Machine(machine) => machine.lacks(path),
        }
    }

    /// The names in a directory, sorted; none when there is no directory.
    pub fn names(&self, path: &str) -> Result<Vec<String>, Fault> {
        let mut names = match self {
            Self::Ext4(ext4) => ext4_names(ext4, path).map_err(|error| format!("{path}: {error}"))?,
            Self::Fat(fat) => match fat_node(fat, path).map(|node| &node.kind) {
                Some(tree::Kind::Directory(directory)) => {
                    directory.iter().take(MAX_NAMES).map(|(name, _)| lossy(name)).collect()
                }
                _ => Vec::new(),
            },
            Self::Machine(machine) => machine.names(path).map_err(|error| format!("{path}: {error}"))?,
        };
        names.sort();
        Ok(names)
    }

    /// The target of a symlink; none when there is no symlink.
    pub fn link(&self, path: &str) -> Result<Option<String>, Fault> {
        let ext4 = match self {
            Self::Ext4(ext4) => ext4,
            Self::Fat(_) => return Ok(None),
            Self::Machine(machine) => return machine.link(path).map_err(|error| format!("{path}: {error}")),
        };
        let inode = match ext4.lookup(path.as_bytes()) {
            Err(ext4_read::Error::NotFound(_)) => return Ok(None),
            found => found.map_err(|error| format!("{path}: {error}"))?,
        };
        if inode.kind != Kind::Symlink {
            return Ok(None);
        }
        ext4.read_link(&inode).map(|target| Some(lossy(&target))).map_err(|error| format!("{path}: {error}"))
    }
}

fn is_nix_alone(ext4: &Ext4<Part<'_>>) -> bool {
    let has = |path: &[u8]| ext4.lookup(path).is_ok_and(|inode| inode.kind == Kind::Directory);
    matches!(ext4.resolve(b"/nix/store"), Err(ext4_read::Error::NotFound(_)))
        && has(b"/store")
        && has(b"/var/nix")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ext4_names(ext4: &Ext4<Part<'_>>, path: &str) -> Result<Vec<String>, ext4_read::Error> {
    let directory = match ext4.resolve(path.as_bytes()) {
        Err(ext4_read::Error::NotFound(_)) => return Ok(Vec::new()),
        found => found?,
    };
    if directory.kind != Kind::Directory {
        return Ok(Vec::new());
    }
    let names = ext4.read_dir(&directory)?.take(MAX_NAMES);
    names.map(|entry| entry.map(|entry| lossy(&entry.name))).collect()
}

/// What is at a path of a FAT; upper and lower case are the same.
pub fn fat_node<'a>(fat: &'a Fat<Part<'_>>, path: &str) -> Option<&'a Node<FileRef>> {
    let mut node = fat.list();
    for wanted in path.split('/').filter(|name| !name.is_empty()) {
        let tree::Kind::Directory(directory) = &node.kind else { return None };
        let same = |name: &[u8]| name.eq_ignore_ascii_case(wanted.as_bytes());
        node = directory.iter().find(|(name, _)| same(name)).map(|(_, node)| node)?;
    }
    Some(node)
}

fn of_fat(fat: &Fat<Part<'_>>) -> FileSystem {
    let id = fat.volume_id();
    FileSystem {
        kind: fat.kind().to_string(),
        label: fat.label().to_owned(),
        uuid: format!("{:04X}-{:04X}", id >> 16, id & 0xffff),
        bytes: fat.size(),
        free: fat.free_bytes(),
        inodes: None,
        free_inodes: None,
        state: None,
        created: None,
        mounted: None,
        features: Vec::new(),
    }
}

fn of_ext4(ext4: &Ext4<Part<'_>>) -> FileSystem {
    let sb = &ext4.superblock;
    let has = |name: &str| sb.features.iter().any(|feature| feature == name);
    let kind = match (has("extent"), has("has_journal")) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    };
    let state = match (sb.needs_recovery, sb.has_errors, sb.clean) {
        (true, ..) => State::Replay,
        (false, true, _) => State::Errors,
        (false, false, true) => State::Clean,
        (false, false, false) => State::NotUnmounted,
    };
    FileSystem {
        kind: kind.to_owned(),
        label: sb.label.clone(),
        uuid: sb.uuid.to_string(),
        bytes: sb.bytes(),
        free: sb.free_blocks.min(sb.blocks) * sb.block_size,
        inodes: Some(sb.inodes),
        free_inodes: Some(sb.free_inodes),
        state: Some(state),
        created: Some(sb.created),
        mounted: (sb.mounted != 0).then_some(sb.mounted),
        features: sb.features.clone(),
    }
}

/// Joins a path that a boot file names with the directory of that file; `..` does not leave the volume.
pub fn join(directory: &str, path: &str) -> String {
    let base = if path.starts_with('/') { "" } else { directory };
    let mut names: Vec<&str> = Vec::new();
    for name in base.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names.iter().flat_map(|name| ["/", name]).collect()
}
