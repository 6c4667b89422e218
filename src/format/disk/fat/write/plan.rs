//! Decides where everything in a volume is, and renders it.

use super::error::Error;
use super::geometry::{FATS, Geometry, MEDIA};
use super::options::{Options, Summary};
use crate::extent::{Extent, Fill, Layout, MAX_ENCODED};
use crate::format::disk::fat::ondisk::boot_sector::{ENTRY_MASK, FatType};
use crate::format::disk::fat::ondisk::entry::{self, Facts};
use crate::format::disk::fat::ondisk::name::{self, Name};
use crate::format::disk::fat::ondisk::slot::{
    ATTR_ARCHIVE, ATTR_DIRECTORY, ATTR_VOLUME_ID, MAX_DEPTH, MAX_DIRECTORY, SECTOR, SLOT,
};
use crate::format::disk::fat::ondisk::stamp::Stamp;
use crate::ints;
use crate::tree::{Directory, Kind, Node};

/// A directory that is the root: the first one.
const ROOT: usize = 0;

/// A planned volume.
pub struct Fat<C> {
    geometry: Geometry,
    options: Options,
    directories: Vec<Planned>,
    /// The first cluster of each file that has bytes.
    files: Vec<u64>,
    /// The last cluster of each run, ascending; runs follow each other without gaps from cluster 2 on.
    ends: Vec<u64>,
    /// Clusters that hold something.
    used: u64,
    extents: Vec<Extent<C>>,
    /// What the first extents are; the others are contents.
    pieces: Vec<Piece>,
}

/// What an extent of metadata is.
#[derive(Clone, Copy, Debug)]
enum Piece {
    Reserved,
    /// A part of a FAT, from that byte of it.
    Fat(u64),
    Zeros,
    /// A part of a directory, from that byte of it.
    Directory(usize, u64),
}

/// A directory with its names.
struct Planned {
    parent: usize,
    stamp: Stamp,
    entries: Vec<Entry>,
    /// Bytes of its slots.
    len: u64,
    /// The first cluster; 0 for the root of a FAT16.
    cluster: u64,
}

struct Entry {
    name: Name,
    stamp: Stamp,
    what: What,
}

enum What {
    Directory(usize),
    /// A file, and which one it is of those that have bytes.
    File {
        len: u32,
        index: Option<usize>,
    },
}

/// A file that has bytes.
struct Run<C> {
    content: C,
    len: u64,
    cluster: u64,
}

/// Plans a volume that holds a tree. Owners and modes are dropped, which FAT does not have.
pub fn plan<C: Copy>(root: &Node<C>, options: &Options) -> Result<Fat<C>, Error> {
    let geometry = Geometry::choose(options.size, options.kind)?;
    let Kind::Directory(tree) = &root.kind else { return Err(Error::RootKind) };
    let mut planner = Planner { geometry, directories: Vec::new(), files: Vec::new() };
    let label_slots = u64::from(options.label.slot().is_some());
    planner.directories.push(Planned {
        parent: ROOT,
        stamp: Stamp::from_unix(root.attrs.mtime),
        entries: Vec::new(),
        len: label_slots * SLOT,
        cluster: 0,
    });
    planner.walk(tree, ROOT, &mut Vec::new())?;
    planner.allocate(options)
}

struct Planner<C> {
    geometry: Geometry,
    directories: Vec<Planned>,
    files: Vec<Run<C>>,
}

impl<C: Copy> Planner<C> {
    /// Adds what is in a directory, and below.
    fn walk<'a>(
        &mut self,
        tree: &'a Directory<C>,
        this: usize,
        path: &mut Vec<&'a [u8]>,
    ) -> Result<(), Error> {
        let too_long = |needed| {
            let given = self.most_slots(this);
            let path = shown(path);
            if needed > given { Err(Error::DirectoryTooLong { path, needed, given }) } else { Ok(()) }
        };
        too_long(ints::to_u64(tree.len()))?;
        let names = tree.iter().map(|(bytes, _)| {
            name::check(bytes)
                .map_err(|fault| Error::Name { path: shown(&[&path[..], &[bytes]].concat()), fault })
        });
        let names: Vec<&str> = names.collect::<Result<_, _>>()?;
        let case = |(name, other): (&str, &str)| Error::Case {
            path: shown(&[&path[..], &[name.as_bytes()]].concat()),
            other: other.to_owned(),
        };
        let names = name::assign(&names).map_err(case)?;
        let slots = self.directories[this].len / SLOT + names.iter().map(entry::slots).sum::<u64>();
        too_long(slots)?;
        self.directories[this].len = slots * SLOT;
        for ((bytes, node), name) in tree.iter().zip(names) {
            path.push(bytes);
            self.add(node, name, this, path)?;
            path.pop();
        }
        Ok(())
    }

    fn add<'a>(
        &mut self,
        node: &'a Node<C>,
        name: Name,
        parent: usize,
        path: &mut Vec<&'a [u8]>,
    ) -> Result<(), Error> {
        let stamp = Stamp::from_unix(node.attrs.mtime);
        match &node.kind {
            Kind::Symlink(_) => return Err(Error::Symlink { path: shown(path) }),
            Kind::File { len, content } => {
                let too_long = |_| Error::FileTooLong { path: shown(path), len: *len };
                let index = (*len > 0).then_some(self.files.len());
                let what = What::File { len: u32::try_from(*len).map_err(too_long)?, index };
                self.directories[parent].entries.push(Entry { name, stamp, what });
                if *len > 0 {
                    self.files.push(Run { content: *content, len: *len, cluster: 0 });
                }
            }
            Kind::Directory(tree) => {
                if path.len() > MAX_DEPTH {
                    return Err(Error::TooDeep { path: shown(path) });
                }
                let this = self.directories.len();
                self.directories[parent].entries.push(Entry { name, stamp, what: What::Directory(this) });
                // `.` and `..` are slots too.
                self.directories.push(Planned {
                    parent,
                    stamp,
                    entries: Vec::new(),
                    len: 2 * SLOT,
                    cluster: 0,
                });
                self.walk(tree, this, path)?;
            }
        }
        Ok(())
    }

    /// How many slots a directory can have.
    const fn most_slots(&self, directory: usize) -> u64 {
        match self.geometry.fat_type {
            FatType::Fat16 if directory == ROOT => self.geometry.root * SECTOR / SLOT,
            FatType::Fat16 | FatType::Fat32 => MAX_DIRECTORY / SLOT,
        }
    }

    /// Gives clusters to all: directories, then files, each one run.
    fn allocate(mut self, options: &Options) -> Result<Fat<C>, Error> {
        let (geometry, cluster_bytes) = (self.geometry, self.geometry.cluster_bytes());
        let mut next = 2;
        let mut ends = Vec::new();
        let mut take = |len: u64| {
            let first = next;
            // An empty directory has a cluster, too.
            next += len.div_ceil(cluster_bytes).max(1);
            ends.push(next - 1);
            first
        };
        let skip_root = usize::from(geometry.fat_type == FatType::Fat16);
        for directory in self.directories.iter_mut().skip(skip_root) {
            directory.cluster = take(directory.len);
        }
        for file in &mut self.files {
            file.cluster = take(file.len);
        }
        let used = next - 2;
        if used > geometry.clusters {
            let (needed, given) = (used * cluster_bytes, geometry.clusters * cluster_bytes);
            return Err(Error::Full { needed, given, cluster: cluster_bytes });
        }
        let files = self.files.iter().map(|file| file.cluster).collect();
        let (directories, options) = (self.directories, options.clone());
        let (extents, pieces) = (Vec::new(), Vec::new());
        let mut fat = Fat { geometry, options, directories, files, ends, used, extents, pieces };
        fat.lay_metadata();
        fat.extents.extend(self.files.iter().map(|file| Extent {
            offset: geometry.cluster_offset(file.cluster),
            len: file.len.next_multiple_of(cluster_bytes),
            fill: Fill::Content { content: file.content, at: 0, len: file.len },
        }));
        Ok(fat)
    }
}

impl<C: Copy> Fat<C> {
    /// The numbers of the volume.
    #[must_use]
    pub const fn summary(&self) -> Summary {
        let cluster_bytes = self.geometry.cluster_bytes();
        Summary {
            kind: self.geometry.fat_type,
            cluster_bytes,
            clusters: self.geometry.clusters,
            free_bytes: (self.geometry.clusters - self.used) * cluster_bytes,
        }
    }

    /// Lays out all but contents.
    fn lay_metadata(&mut self) {
        let geometry = self.geometry;
        self.lay(0, geometry.reserved * SECTOR, |_| Piece::Reserved);
        // Entries of free clusters are zeros.
        let mapped = ((2 + self.used) * geometry.entry_bytes()).next_multiple_of(SECTOR);
        let unmapped = geometry.fat * SECTOR - mapped;
        for copy in 0..FATS {
            let offset = geometry.fat_offset(copy);
            self.lay(offset, mapped, Piece::Fat);
            if unmapped > 0 {
                self.extents.push(Extent { offset: offset + mapped, len: unmapped, fill: Fill::Zeros });
                self.pieces.push(Piece::Zeros);
            }
        }
        for index in 0..self.directories.len() {
            let directory = &self.directories[index];
            let (offset, len) = match directory.cluster {
                0 => (geometry.root_offset(), geometry.root * SECTOR),
                cluster => {
                    let clusters = directory.len.div_ceil(geometry.cluster_bytes()).max(1);
                    (geometry.cluster_offset(cluster), clusters * geometry.cluster_bytes())
                }
            };
            self.lay(offset, len, |from| Piece::Directory(index, from));
        }
    }

    /// Adds encoded extents, none longer than allowed.
    fn lay(&mut self, offset: u64, len: u64, piece: impl Fn(u64) -> Piece) {
        let mut from = 0;
        while from < len {
            let now = (len - from).min(MAX_ENCODED);
            self.extents.push(Extent { offset: offset + from, len: now, fill: Fill::Encoded });
            self.pieces.push(piece(from));
            from += now;
        }
    }

    /// Renders a part of a FAT: each used cluster points to the next one, or is the end of a run.
    fn encode_fat(&self, from: u64, out: &mut [u8]) {
        let bytes = self.geometry.entry_bytes();
        let width = ints::to_usize(bytes);
        let first = from / bytes;
        let end_mark = ENTRY_MASK;
        let next = |entry: u64| match entry {
            0 => end_mark - 0xff + u32::from(MEDIA),
            // The end mark; its high bits say that the volume is clean.
            1 => end_mark,
            entry if entry >= 2 + self.used => 0,
            // cannot fail: clusters are below 2^28
            entry => u32::try_from(entry + 1).unwrap_or(0),
        };
        for (entry, slot) in (first..).zip(out.chunks_exact_mut(width)) {
            slot.copy_from_slice(&next(entry).to_le_bytes()[..width]);
        }
        let ends = &self.ends[self.ends.partition_point(|end| *end < first)..];
        for end in ends {
            let at = ints::to_usize((end - first) * bytes);
            let Some(slot) = out.get_mut(at..at + width) else { break };
            slot.copy_from_slice(&end_mark.to_le_bytes()[..width]);
        }
    }

    /// Renders all of a directory.
    fn encode_directory(&self, index: usize) -> Vec<u8> {
        let this = &self.directories[index];
        let mut out = Vec::with_capacity(ints::to_usize(this.len));
        let folder = |cluster: u64, stamp| Facts {
            attributes: ATTR_DIRECTORY,
            stamp,
            cluster: low32(cluster),
            size: 0,
        };
        if index == ROOT {
            if let Some(label) = self.options.label.slot() {
                let stamp = Stamp::from_unix(self.options.epoch);
                entry::push_short(&mut out, label, &Facts { attributes: ATTR_VOLUME_ID, ..folder(0, stamp) });
            }
        } else {
            // The root is cluster 0 to its children, whatever its cluster is.
            let parent = if this.parent == ROOT { 0 } else { self.directories[this.parent].cluster };
            entry::push_short(&mut out, b".          ", &folder(this.cluster, this.stamp));
            entry::push_short(&mut out, b"..         ", &folder(parent, self.directories[this.parent].stamp));
        }
        for Entry { name, stamp, what } in &this.entries {
            let facts = match what {
                What::Directory(below) => folder(self.directories[*below].cluster, *stamp),
                What::File { len, index } => {
                    let cluster = low32(index.map_or(0, |index| self.files[index]));
                    Facts { attributes: ATTR_ARCHIVE, stamp: *stamp, cluster, size: *len }
                }
            };
            entry::push(&mut out, name, &facts);
        }
        out
    }
}

impl<C: Copy> Layout<C> for Fat<C> {
    fn len(&self) -> u64 {
        self.options.size
    }

    fn extents(&self) -> &[Extent<C>] {
        &self.extents
    }

    fn encode(&self, index: usize, out: &mut [u8]) {
        match self.pieces[index] {
            Piece::Reserved => self.geometry.encode_reserved(&self.options, self.used, out),
            Piece::Fat(from) => self.encode_fat(from, out),
            Piece::Zeros => out.fill(0),
            Piece::Directory(directory, from) => {
                let bytes = self.encode_directory(directory);
                let rest = bytes.get(ints::to_usize(from)..).unwrap_or_default();
                let (front, back) = out.split_at_mut(rest.len().min(out.len()));
                front.copy_from_slice(&rest[..front.len()]);
                back.fill(0);
            }
        }
    }
}

/// A cluster number: the geometry keeps them below 2^28.
fn low32(cluster: u64) -> u32 {
    u32::try_from(cluster).unwrap_or(0)
}

/// A path as errors show it.
fn shown(path: &[&[u8]]) -> String {
    String::from_utf8_lossy(&path.join(&b'/')).into_owned()
}
