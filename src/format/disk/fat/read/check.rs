//! Walks a volume and refuses what is not sound.

use super::boot::Boot;
use super::cache::Cached;
use super::error::{ChainFault, Error, MAX_ENTRIES};
use super::free_runs::{self, Run};
use super::long_name::{LongName, ShortCase, label_text, short_text};
use crate::format::disk::fat::ondisk::boot_sector::{FIRST_CLUSTER, FatType};
use crate::format::disk::fat::ondisk::case::fold;
use crate::format::disk::fat::ondisk::name;
use crate::format::disk::fat::ondisk::slot::{
    ATTR_DIRECTORY, ATTR_LONG_NAME, ATTR_VOLUME_ID, DELETED, DIR_ATTR, DIR_FILE_SIZE, DIR_FST_CLUS_HI,
    DIR_FST_CLUS_LO, DIR_NAME, DIR_WRT_DATE, DIR_WRT_TIME, END, MAX_DEPTH, MAX_DIRECTORY, SLOT_LEN,
};
use crate::format::disk::fat::ondisk::stamp::Stamp;
use crate::ints;
use crate::stream::ReadAt;
use crate::tree::{Attrs, Directory, Kind, Node};
use std::collections::BTreeSet;

/// Where a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRef {
    /// Its first cluster, 0 for an empty file.
    pub cluster: u32,
}

/// What a sound volume holds.
pub(crate) struct Found {
    pub root: Node<FileRef>,
    pub label: Option<String>,
    pub free_clusters: u64,
    pub runs: Vec<Run>,
}

/// Checks a volume whose boot sector is sound.
pub(crate) fn check<R: ReadAt>(disk: &mut Cached<R>, boot: &Boot) -> Result<Found, Error> {
    let (free_clusters, runs) = free_runs::find(disk, boot)?;
    let used = vec![0; ints::to_usize(u64::from(boot.clusters) / 64 + 1)];
    let mut walker = Walker { disk, boot, used, entries: 0, label: None, path: Vec::new() };
    let slots = match boot.fat_type {
        FatType::Fat16 => {
            let mut slots = vec![0; ints::to_usize(boot.root * boot.sector_bytes)];
            walker.read(&mut slots, boot.root_start * boot.sector_bytes)?;
            slots
        }
        FatType::Fat32 => walker.directory_slots(boot.root_cluster)?,
    };
    let root = node(0, Kind::Directory(walker.directory(slots, Place { cluster: 0, parent: 0 })?));
    Ok(Found { root, label: walker.label, free_clusters, runs })
}

/// FAT knows no owners and modes; these are what Linux shows.
fn node(mtime: u32, kind: Kind<FileRef>) -> Node<FileRef> {
    Node { attrs: Attrs { mode: 0o755, uid: 0, gid: 0, mtime }, kind }
}

/// A directory that is walked.
#[derive(Clone, Copy)]
struct Place {
    /// Its first cluster; 0 for the root.
    cluster: u32,
    /// The first cluster of its parent; 0 for the root.
    parent: u32,
}

/// A slot with its name.
struct Entry {
    name: String,
    slot: [u8; SLOT_LEN],
}

impl Entry {
    fn attributes(&self) -> u8 {
        DIR_ATTR.get(&self.slot)
    }

    fn cluster(&self, fat_type: FatType) -> u32 {
        let high = if fat_type == FatType::Fat32 { DIR_FST_CLUS_HI.get(&self.slot) } else { 0 };
        (u32::from(high) << 16) | u32::from(DIR_FST_CLUS_LO.get(&self.slot))
    }

    fn len(&self) -> u64 {
        DIR_FILE_SIZE.get(&self.slot).into()
    }

    fn mtime(&self) -> u32 {
        Stamp { time: DIR_WRT_TIME.get(&self.slot), date: DIR_WRT_DATE.get(&self.slot) }.to_unix()
    }
}

struct Walker<'a, R> {
    disk: &'a mut Cached<R>,
    boot: &'a Boot,
    /// A bit for each cluster that a chain has taken.
    used: Vec<u64>,
    entries: usize,
    label: Option<String>,
    /// Names from the root to what is walked; joined only when an error needs it.
    path: Vec<String>,
}

impl<R: ReadAt> Walker<'_, R> {
    fn read(&mut self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        self.disk.read(buf, offset).map_err(|source| Error::Io { offset, source })
    }

    fn refuse(&self, message: &'static str) -> Error {
        Error::Directory { path: self.path.join("/"), message }
    }

    fn fault(&self, fault: ChainFault) -> Error {
        Error::Chain { path: self.path.join("/"), fault }
    }

    /// Checks a directory and all below it.
    fn directory(&mut self, slots: Vec<u8>, place: Place) -> Result<Directory<FileRef>, Error> {
        let entries = self.entries(&slots, place)?;
        // Not kept while what is below is walked.
        drop(slots);
        let mut nodes = Vec::new();
        for entry in entries {
            self.path.push(entry.name.clone());
            let kind = self.kind(&entry, place)?;
            self.path.pop();
            nodes.push((entry.name.as_bytes().into(), node(entry.mtime(), kind)));
        }
        // Names were compared in a coarser way already.
        Directory::from_entries(nodes).map_err(|_| self.refuse("has a name twice"))
    }

    fn kind(&mut self, entry: &Entry, place: Place) -> Result<Kind<FileRef>, Error> {
        let cluster = entry.cluster(self.boot.fat_type);
        if entry.attributes() & ATTR_DIRECTORY == 0 {
            self.file(cluster, entry.len())?;
            return Ok(Kind::File { len: entry.len(), content: FileRef { cluster } });
        }
        if self.path.len() > MAX_DEPTH {
            return Err(self.refuse("is nested too deeply"));
        }
        let slots = self.directory_slots(cluster)?;
        Ok(Kind::Directory(self.directory(slots, Place { cluster, parent: place.cluster })?))
    }

    /// The entries of a directory, without `.`, `..` and the label.
    fn entries(&mut self, slots: &[u8], place: Place) -> Result<Vec<Entry>, Error> {
        let (mut long, mut entries, mut names) = (LongName::default(), Vec::new(), BTreeSet::new());
        for slot in slots.chunks_exact(SLOT_LEN) {
            let slot = slot.first_chunk::<SLOT_LEN>().copied().unwrap_or([END; SLOT_LEN]);
            let attributes = DIR_ATTR.get(&slot);
            match slot[0] {
                END => break,
                DELETED => long.clear(),
                _ if attributes & ATTR_LONG_NAME == ATTR_LONG_NAME => long.take(&slot),
                _ if attributes & ATTR_VOLUME_ID != 0 => {
                    long.clear();
                    if self.path.is_empty() {
                        self.label.get_or_insert_with(|| label_text(&DIR_NAME.get(&slot)));
                    }
                }
                b'.' => {
                    long.clear();
                    self.check_dots(&slot, place)?;
                }
                _ => {
                    let entry =
                        entry_of(&slot, &mut long, &mut names).map_err(|message| self.refuse(message))?;
                    self.entries += 1;
                    if self.entries > MAX_ENTRIES {
                        return Err(Error::TooMany);
                    }
                    entries.push(entry);
                }
            }
        }
        Ok(entries)
    }

    /// Checks `.` and `..`, which are the only short names that begin with a dot.
    fn check_dots(&self, slot: &[u8; SLOT_LEN], place: Place) -> Result<(), Error> {
        let cluster = Entry { name: String::new(), slot: *slot }.cluster(self.boot.fat_type);
        let is_right = match &DIR_NAME.get(slot) {
            b".          " => cluster == place.cluster,
            // Some writers give the root its cluster rather than 0.
            b"..         " => {
                cluster == place.parent || (place.parent == 0 && cluster == self.boot.root_cluster)
            }
            _ => false,
        };
        let is_directory = DIR_ATTR.get(slot) & ATTR_DIRECTORY != 0;
        if is_right && is_directory && !self.path.is_empty() {
            return Ok(());
        }
        Err(self.refuse("has a wrong \".\" or \"..\""))
    }

    /// Reads all clusters of a directory.
    fn directory_slots(&mut self, first: u32) -> Result<Vec<u8>, Error> {
        let cluster_bytes = ints::to_usize(self.boot.cluster_bytes());
        let (mut slots, mut cluster) = (Vec::new(), Some(first));
        while let Some(this) = cluster {
            if ints::to_u64(slots.len()) >= MAX_DIRECTORY {
                return Err(self.refuse("is longer than 65,536 slots"));
            }
            cluster = self.step(this)?;
            let from = slots.len();
            slots.resize(from + cluster_bytes, 0);
            self.read(&mut slots[from..], self.boot.cluster_offset(this))?;
        }
        Ok(slots)
    }

    /// Follows the chain of a file.
    fn file(&mut self, first: u32, len: u64) -> Result<(), Error> {
        let expected = len.div_ceil(self.boot.cluster_bytes());
        let wrong = ChainFault::Length { expected, len };
        let mut cluster = (first != 0).then_some(first);
        for _ in 0..expected {
            let this = cluster.ok_or_else(|| self.fault(wrong))?;
            cluster = self.step(this)?;
        }
        if cluster.is_some() { Err(self.fault(wrong)) } else { Ok(()) }
    }

    /// Takes a cluster of a chain and gives the next one, or `None` at the end.
    fn step(&mut self, cluster: u32) -> Result<Option<u32>, Error> {
        self.take(cluster).map_err(|fault| self.fault(fault))?;
        let fat_type = self.boot.fat_type;
        let width = fat_type.entry_bytes();
        let mut entry = [0; 4];
        let entry = &mut entry[..ints::to_usize(width)];
        self.read(entry, self.boot.fat_start * self.boot.sector_bytes + u64::from(cluster) * width)?;
        let next = fat_type.entry(entry);
        if next >= fat_type.end_mark() {
            return Ok(None);
        }
        // Looked at again when it is taken; but a file may end here.
        if self.is_cluster(next) { Ok(Some(next)) } else { Err(self.fault(ChainFault::OutOfRange(next))) }
    }

    fn is_cluster(&self, cluster: u32) -> bool {
        cluster.checked_sub(FIRST_CLUSTER).is_some_and(|at| at < self.boot.clusters)
    }

    fn take(&mut self, cluster: u32) -> Result<(), ChainFault> {
        if !self.is_cluster(cluster) {
            return Err(ChainFault::OutOfRange(cluster));
        }
        let at = u64::from(cluster - FIRST_CLUSTER);
        let (word, bit) = (&mut self.used[ints::to_usize(at / 64)], 1 << (at % 64));
        if *word & bit != 0 {
            return Err(ChainFault::UsedTwice(cluster));
        }
        *word |= bit;
        Ok(())
    }
}

/// The entry of a short slot; its names must be unlike all others of the directory, since `fatfs` finds it by either.
fn entry_of(
    slot: &[u8; SLOT_LEN],
    long: &mut LongName,
    names: &mut BTreeSet<String>,
) -> Result<Entry, &'static str> {
    let short = DIR_NAME.get(slot);
    let (stored, shown) = (short_text(slot, ShortCase::AsStored), short_text(slot, ShortCase::AsShown));
    let name = long.finish(&short)?.unwrap_or(shown);
    if name.is_empty() || name == "." || name == ".." || name.chars().any(name::is_forbidden) {
        return Err("has a name that is empty or holds a character that FAT forbids");
    }
    let (by_name, by_short) = (fold(&name), fold(&stored));
    let is_new = names.insert(by_name.clone()) && (by_short == by_name || names.insert(by_short));
    if is_new { Ok(Entry { name, slot: *slot }) } else { Err("has a name twice") }
}
