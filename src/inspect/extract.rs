//! Files taken off a card, one after the other; where they go is the caller's business.

use super::volume::{self, Fault, Volume};
use crate::format::disk::ext4::read::{Ext4, Found, Inode, Kind};
use crate::format::disk::fat::read::FileRef;
use crate::format::disk::partition_table;
use crate::stream::{ReadAt, Window};
use crate::tree::{self, Node};
use std::io::Read;

/// One thing that is taken off.
pub enum Item<'a> {
    /// A directory; what is in it follows.
    Directory,
    /// A file: whether it is executable, its length, its contents.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Its length in bytes.
        len: u64,
        /// Its contents.
        contents: &'a mut dyn Read,
    },
    /// A symlink with its target.
    Symlink(Vec<u8>),
}

/// Takes what is extracted: its path below what was asked for, empty for that itself.
pub type Taker<'a> = dyn FnMut(&[u8], Item<'_>) -> Result<(), Fault> + 'a;

/// Gives what is at a path, with all below it: of a partition, or else of the root of the NixOS. Symlinks lead on among
/// the files of the card, on the way to the path; below it they are given as they are.
pub fn extract(
    disk: &dyn ReadAt,
    partition: Option<u32>,
    path: &str,
    take: &mut Taker<'_>,
) -> Result<(), Fault> {
    let reading = partition_table::read(disk).map_err(|error| error.to_string())?;
    let mut places: Vec<(u32, u64, u64)> =
        reading.places().iter().map(|place| (place.number, place.start, place.len)).collect();
    if places.is_empty() {
        places.push((0, 0, disk.size()));
    }
    let mut why = match partition {
        Some(number) => format!("there is no partition {number} with a file system that is known"),
        None => "there is no root of a NixOS; name a partition, as in 1:/config.txt".to_owned(),
    };
    for (number, start, len) in
        places.into_iter().filter(|(n, ..)| partition.is_none_or(|wanted| wanted == *n))
    {
        match volume::open(Window::new(disk, start, len)) {
            Ok(Some(volume)) if partition.is_some() => return of_volume(&volume, path, take),
            Ok(Some(volume)) => {
                let volume = volume.mounted();
                if is_root(&volume) {
                    return of_volume(&volume, path, take);
                }
            }
            Ok(None) => {}
            Err(fault) => why = format!("partition {number}: {fault}"),
        }
    }
    Err(why)
}

fn is_root(volume: &Volume<'_>) -> bool {
    matches!(volume, Volume::Ext4(_)) && !volume.lacks("/nix/store")
}

fn of_volume(volume: &Volume<'_>, path: &str, take: &mut Taker<'_>) -> Result<(), Fault> {
    match volume {
        Volume::Ext4(ext4) => of_ext4(ext4, path, take),
        Volume::Machine(_) => Err("its files are there already".to_owned()),
        Volume::Fat(fat) => {
            let path = path.trim_matches('/');
            let node = if path.is_empty() { Some(fat.list()) } else { volume::fat_node(fat, path) };
            let node = node.ok_or_else(|| format!("{path} does not exist"))?;
            let mut open = vec![(String::new(), node)];
            while let Some((below, node)) = open.pop() {
                of_fat(node, &below, &mut open, take, &mut |below| {
                    let full = format!("{path}/{below}");
                    fat.open_file(full.trim_matches('/')).map_err(|error| error.to_string())
                })?;
            }
            Ok(())
        }
    }
}

fn of_fat<'n, R: Read>(
    node: &'n Node<FileRef>,
    below: &str,
    open: &mut Vec<(String, &'n Node<FileRef>)>,
    take: &mut Taker<'_>,
    read: &mut dyn FnMut(&str) -> Result<R, Fault>,
) -> Result<(), Fault> {
    match &node.kind {
        tree::Kind::Directory(directory) => {
            take(below.as_bytes(), Item::Directory)?;
            open.extend(directory.iter().rev().map(|(name, node)| {
                let separator = if below.is_empty() { "" } else { "/" };
                (format!("{below}{separator}{}", String::from_utf8_lossy(name)), node)
            }));
            Ok(())
        }
        tree::Kind::File { len, .. } => {
            let mut contents = read(below)?;
            take(below.as_bytes(), Item::File { executable: false, len: *len, contents: &mut contents })
        }
        tree::Kind::Symlink(_) => Ok(()),
    }
}

fn of_ext4<R: ReadAt>(ext4: &Ext4<R>, path: &str, take: &mut Taker<'_>) -> Result<(), Fault> {
    let shown = |error: &dyn std::fmt::Display| format!("{path}: {error}");
    let inode = ext4.resolve(path.as_bytes()).map_err(|error| shown(&error))?;
    // Holes have any length: all together no more than the file system itself has.
    let mut left = ext4.superblock.bytes();
    one(ext4, b"", &inode, &mut left, take)?;
    if inode.kind == Kind::Directory {
        for found in ext4.walk(&inode) {
            let Found { path: below, inode } = found.map_err(|error| shown(&error))?;
            one(ext4, &below, &inode, &mut left, take)?;
        }
    }
    Ok(())
}

fn one<R: ReadAt>(
    ext4: &Ext4<R>,
    below: &[u8],
    inode: &Inode,
    left: &mut u64,
    take: &mut Taker<'_>,
) -> Result<(), Fault> {
    let shown = |error: &dyn std::fmt::Display| format!("{}: {error}", String::from_utf8_lossy(below));
    match inode.kind {
        Kind::Directory => take(below, Item::Directory),
        Kind::Symlink => take(below, Item::Symlink(ext4.read_link(inode).map_err(|error| shown(&error))?)),
        Kind::File => {
            *left = left
                .checked_sub(inode.size)
                .ok_or_else(|| shown(&"files are longer than the file system has room for"))?;
            let mut contents = ext4.open_file(inode).map_err(|error| shown(&error))?;
            let executable = inode.mode & 0o100 != 0;
            take(below, Item::File { executable, len: inode.size, contents: &mut contents })
        }
        // Devices and sockets are nothing without the system that they are of.
        Kind::Other => Ok(()),
    }
}
