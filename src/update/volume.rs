//! The volume that a card has: its files by their path, whatever the case.

use super::error::Error;
use crate::device::Reader;
use crate::format::disk::fat;
use crate::format::disk::fat::read as format;
use crate::format::disk::fat::read::{FileRef, Volume};
use crate::format::disk::partition_table::Span;
use crate::ints;
use crate::stream::{ReadAt, Window};
use crate::tree::{Kind, Node};
use std::collections::BTreeMap;
use std::io;

/// The longest small file that is read as a whole, in bytes.
const SMALL: u64 = 4 << 20;

/// What a card has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its absolute path as it is written.
    pub path: String,
    /// Its time.
    pub mtime: u32,
    /// The length of a file; `None` for a directory.
    pub len: Option<u64>,
}

/// A volume that is open.
pub struct Current<'a> {
    /// The volume.
    pub fat: Volume<Window<&'a Reader<'a>>>,
    /// Everything on it, by its folded path.
    pub entries: BTreeMap<String, Entry>,
}

/// How a path is compared: FAT does not tell cases apart.
pub fn fold(path: &str) -> String {
    fat::fold(path)
}

/// Opens the volume in a partition.
pub fn open<'a>(reader: &'a Reader<'a>, span: Span) -> Result<Current<'a>, format::Error> {
    let fat = format::open(Window::new(reader, span.start, span.len))?;
    let mut entries = BTreeMap::new();
    let mut open: Vec<(String, &Node<FileRef>)> = vec![(String::new(), fat.list())];
    while let Some((path, node)) = open.pop() {
        let len = match &node.kind {
            Kind::Directory(directory) => {
                for (name, child) in directory.iter() {
                    open.push((format!("{path}/{}", String::from_utf8_lossy(name)), child));
                }
                None
            }
            Kind::File { len, .. } => Some(*len),
            // FAT has none.
            Kind::Symlink(_) => continue,
        };
        if !path.is_empty() {
            entries.insert(fold(&path), Entry { path, mtime: node.attrs.mtime, len });
        }
    }
    Ok(Current { fat, entries })
}

/// Reads from a disk as the volume's own errors say it.
pub fn read(disk: &dyn ReadAt, out: &mut [u8], offset: u64) -> Result<(), format::Error> {
    disk.read_exact_at(out, offset).map_err(|source| format::Error::Io { offset, source })
}

impl Current<'_> {
    /// Whether there is a file at a path.
    pub fn has(&self, path: &str) -> bool {
        self.entries.get(&fold(path)).is_some_and(|entry| entry.len.is_some())
    }

    /// A small file; `None` where there is none.
    pub fn small(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.entries.get(&fold(path)) {
            Some(Entry { path, len: Some(_), .. }) => Ok(Some(self.fat.read(&path[1..], SMALL)?)),
            _ => Ok(None),
        }
    }

    /// Whether the file at a path has these bytes.
    pub fn holds(&self, path: &str, bytes: &[u8]) -> Result<bool, Error> {
        match self.entries.get(&fold(path)) {
            Some(Entry { path, len: Some(len), .. }) if *len == ints::to_u64(bytes.len()) => {
                Ok(self.compare(path, &mut { bytes })?)
            }
            _ => Ok(false),
        }
    }

    /// Whether a file has exactly what a reader gives.
    pub fn compare(&self, path: &str, expected: &mut dyn io::Read) -> Result<bool, format::Error> {
        let reading = |source| format::Error::Reader { path: path.to_owned(), source };
        let mut file = self.fat.open_file(&path[1..])?;
        let (mut here, mut there) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        loop {
            let len = io::Read::read(&mut file, &mut here).map_err(reading)?;
            if len == 0 {
                return Ok(expected.read(&mut there[..1]).map_err(reading)? == 0);
            }
            if expected.read_exact(&mut there[..len]).is_err() || here[..len] != there[..len] {
                return Ok(false);
            }
        }
    }
}
