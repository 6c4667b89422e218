//! The file systems of a card, and what is asked of files on them.

use super::error::Error;
use super::findings::Findings;
use super::part::{Part, Shared, gone};
use crate::format::disk::ext4::read as ext4_read;
use crate::format::disk::ext4::read::{Ext4, Kind};
use crate::format::disk::fat::read;
use crate::format::disk::fat::read::FileRef;
use crate::format::disk::partition_table::Span;
use crate::format::nix::store_path::STORE_DIR;
use crate::stream::{ReadAt, Window};
use crate::tree;
use crate::tree::Node;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;

/// The most file systems that are opened.
const MAX_PLACES: usize = 16;
/// The most boot files, or files of a configuration.
const MAX_FILES: usize = 100_000;
/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// A file system.
pub enum System<'a> {
    /// ext2, ext3, ext4.
    Ext4(Box<Ext4<Part<'a>>>),
    /// A FAT.
    Fat(Box<read::Volume<Part<'a>>>),
}

/// A file system and the partition that it is on.
pub struct Place<'a> {
    /// The number of the partition; 0 without a table.
    pub number: u32,
    /// The bytes of the partition.
    pub part: Part<'a>,
    /// What is there.
    pub system: System<'a>,
    is_root: bool,
}

/// Opens what can be opened; what claims to be a file system and is damaged is told.
pub fn open<'a>(disk: Shared<'a>, spans: &[Span], findings: &mut Findings) -> Result<Vec<Place<'a>>, Error> {
    let mut places = Vec::new();
    for Span { number, start, len } in spans.iter().copied().take(MAX_PLACES) {
        let part = Window::new(disk, start, len);
        match open_one(part)? {
            Ok(Some(System::Ext4(ext4))) => {
                let (ext4, found) = seek_store(*ext4)?;
                let is_root = found.unwrap_or_else(|why| {
                    findings.bad(&format!("partition {number}"), &why);
                    false
                });
                places.push(Place { number, part, system: System::Ext4(Box::new(ext4)), is_root });
            }
            Ok(Some(system)) => places.push(Place { number, part, system, is_root: false }),
            Ok(None) => {}
            Err(why) => findings.bad(&format!("partition {number}"), &why),
        }
    }
    if spans.len() > MAX_PLACES {
        findings.bad("partition table", &format!("more than {MAX_PLACES} partitions are not looked into"));
    }
    Ok(places)
}

/// Looks for a store: at `/nix/store`, or at `/store` of what a system with its root in memory mounts at `/nix`. Says
/// whether there is one, or what is wrong where that cannot be said.
fn seek_store(ext4: Ext4<Part<'_>>) -> Result<(Ext4<Part<'_>>, Result<bool, String>), Error> {
    match has_store(&ext4)? {
        Ok(false) => {}
        found => return Ok((ext4, found)),
    }
    let has = |path: &[u8]| ext4.lookup(path).is_ok_and(|inode| inode.kind == Kind::Directory);
    if !has(b"/store") || !has(b"/var/nix") {
        return Ok((ext4, Ok(false)));
    }
    Ok((ext4.mounted_at("nix"), Ok(true)))
}

fn has_store(ext4: &Ext4<Part<'_>>) -> Result<Result<bool, String>, Error> {
    match ext4.resolve(STORE_DIR.as_bytes()) {
        Ok(_) => Ok(Ok(true)),
        Err(ext4_read::Error::NotFound(_)) => Ok(Ok(false)),
        Err(error) => Ok(Err(gone(error)?.to_string())),
    }
}

type Opened<'a> = Result<Option<System<'a>>, String>;

fn open_one(part: Part<'_>) -> Result<Opened<'_>, Error> {
    match Ext4::open_replayed(part) {
        Ok(ext4) => return Ok(Ok(Some(System::Ext4(Box::new(ext4))))),
        Err(ext4_read::Error::None) => {}
        Err(error) => return Ok(Err(gone(error)?.to_string())),
    }
    match read::open(part) {
        Ok(fat) => Ok(Ok(Some(System::Fat(Box::new(fat))))),
        Err(read::Error::Io { source, .. }) if crate::device::read_back::scan::is_gone(&source) => {
            Err(Error::Read(source))
        }
        Err(read::Error::Boot { .. }) if !claims_fat(part) => Ok(Ok(None)),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Whether the boot sector calls itself a FAT.
fn claims_fat(part: Part<'_>) -> bool {
    let mut sector = [0; 512];
    part.read_exact_at(&mut sector, 0).is_ok() && (&sector[54..57] == b"FAT" || &sector[82..85] == b"FAT")
}

impl<'a> Place<'a> {
    /// The root as a boot loader reads it, which replays no journal; `None` where there is nothing to replay.
    pub fn before_replay(&self) -> Option<Result<Self, String>> {
        let (_, ext4) = self.root().filter(|(_, ext4)| ext4.superblock.needs_recovery)?;
        let raw = Ext4::open(self.part).map_err(|error| error.to_string());
        Some(raw.map(|raw| {
            let raw = if ext4.mount_point().is_empty() { raw } else { raw.mounted_at("nix") };
            Self { number: self.number, part: self.part, system: System::Ext4(Box::new(raw)), is_root: true }
        }))
    }

    /// The root of a NixOS, if this is one.
    pub fn root(&self) -> Option<(u32, &Ext4<Part<'a>>)> {
        match &self.system {
            System::Ext4(ext4) if self.is_root => Some((self.number, ext4)),
            _ => None,
        }
    }

    /// The regular files that boot loaders may read, with their lengths: all of a FAT; of the root `/boot`, and what
    /// U-Boot looks for beside it.
    pub fn boot_files(&self, findings: &mut Findings) -> BTreeMap<String, u64> {
        match &self.system {
            System::Fat(fat) => files_of(fat.list()),
            System::Ext4(ext4) if self.is_root => {
                let top = ext4.mount_point();
                let below = |name: &&str| files_below(ext4, &format!("{top}/{name}"), findings);
                boot_directories(ext4).iter().flat_map(below).collect()
            }
            System::Ext4(_) => BTreeMap::new(),
        }
    }

    /// The contents of a file; `None` when there is none.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, String> {
        match &self.system {
            System::Ext4(ext4) => match ext4.read_file(path, limit) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(ext4_read::Error::NotFound(_)) => Ok(None),
                Err(error) => Err(error.to_string()),
            },
            System::Fat(fat) => match fat.read(path.trim_start_matches('/'), limit) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(read::Error::NoFile { .. }) => Ok(None),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// The length of a regular file; `None` when there is none.
    pub fn len_of(&self, path: &str) -> Option<u64> {
        match &self.system {
            System::Ext4(ext4) => {
                let inode = ext4.lookup(path.as_bytes()).ok()?;
                (inode.kind == Kind::File).then_some(inode.size)
            }
            System::Fat(fat) => {
                let file = fat.open_file(path.trim_start_matches('/')).ok()?;
                Some(file.len())
            }
        }
    }

    /// The SHA-256 of a file.
    pub fn digest(&self, path: &str) -> Result<[u8; 32], String> {
        match &self.system {
            System::Ext4(ext4) => {
                let inode = ext4.lookup(path.as_bytes()).map_err(|error| error.to_string())?;
                digest_of(ext4.open_file(&inode).map_err(|error| error.to_string())?)
            }
            System::Fat(fat) => {
                digest_of(fat.open_file(path.trim_start_matches('/')).map_err(|error| error.to_string())?)
            }
        }
    }
}

/// The directories at the top of an ext4 in which boot loaders find files: `/nixos` counts only beside what names it.
pub fn boot_directories(ext4: &Ext4<Part<'_>>) -> &'static [&'static str] {
    let extlinux = format!("{}/extlinux", ext4.mount_point());
    match ext4.lookup(extlinux.as_bytes()) {
        Ok(_) => &["boot", "extlinux", "nixos"],
        Err(_) => &["boot"],
    }
}

/// The SHA-256 of all that a reader gives.
pub fn digest_of(mut reader: impl Read) -> Result<[u8; 32], String> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match reader.read(&mut buffer).map_err(|error| error.to_string())? {
            0 => return Ok(hasher.finalize().into()),
            len => hasher.update(&buffer[..len]),
        }
    }
}

/// Regular files of a FAT.
fn files_of(root: &Node<FileRef>) -> BTreeMap<String, u64> {
    let (mut files, mut open) = (BTreeMap::new(), vec![(String::new(), root)]);
    while let Some((path, node)) = open.pop() {
        match &node.kind {
            tree::Kind::File { len, .. } => drop(files.insert(path, *len)),
            tree::Kind::Symlink(_) => {}
            tree::Kind::Directory(directory) => open.extend(
                directory
                    .iter()
                    .map(|(name, node)| (format!("{path}/{}", String::from_utf8_lossy(name)), node)),
            ),
        }
    }
    files
}

/// Everything but directories below one of an ext4. What is no regular file is told: no builder makes such.
pub fn files_below(ext4: &Ext4<Part<'_>>, path: &str, findings: &mut Findings) -> BTreeMap<String, u64> {
    let mut files = BTreeMap::new();
    let Ok(directory) = ext4.lookup(path.as_bytes()) else { return files };
    if directory.kind != Kind::Directory {
        findings.bad(path, "it is no directory");
        return files;
    }
    for found in ext4.walk(&directory) {
        if files.len() == MAX_FILES {
            findings.bad(path, &format!("it has more than {MAX_FILES} files; the rest is not judged"));
            break;
        }
        match found {
            Ok(found) => {
                let name = format!("{path}/{}", String::from_utf8_lossy(&found.path));
                match found.inode.kind {
                    Kind::Directory => {}
                    Kind::File => drop(files.insert(name, found.inode.size)),
                    Kind::Symlink | Kind::Other => findings.bad(&name, "it is no regular file"),
                }
            }
            Err(error) => findings.bad(path, &error.to_string()),
        }
    }
    files
}
