//! Whether what is on a card is what its own database and manifest say: no image at hand, perhaps after months of use.
//!
//! The NAR hash of every registered store path is computed again from the blocks of the ext4. What a running system
//! changes is told apart from damage: new store paths and generations, a journal, times.

use crate::format::ext4_read::{self, Ext4, Inode, Kind};
use crate::format::nar::Framing;
use crate::format::store_path::{STORE_DIR, StorePath};
use crate::format::{json, nar_hash, nix_db, partition_table};
use crate::num;
use crate::stream::{ReadAt, Window};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

const DATABASE: &str = "/nix/var/nix/db/db.sqlite";
const WRITE_AHEAD_LOG: &str = "/nix/var/nix/db/db.sqlite-wal";
const MANIFEST: &str = "/nix/var/nixflash/manifest.json";
const PROFILES: &str = "/nix/var/nix/profiles";
/// The longest manifest and the longest database, in bytes.
const MAX_MANIFEST: u64 = 16 << 20;
const MAX_DATABASE: u64 = 192 << 20;
/// How deep a store path may be: paths have at most 4096 bytes.
const MAX_DEPTH: usize = 2048;
/// How many places of each kind are listed.
const LISTED: usize = 1000;

/// What a card turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it was written.
    Intact,
    /// All that was written is intact; the system has gone on since.
    Changed,
    /// Something is not what it should be.
    Damaged,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The verdict.
    pub verdict: Verdict,
    /// The toplevel that the manifest names.
    pub toplevel: Option<String>,
    /// What composed it, as the manifest says: board, version of nixflash.
    pub made_for: Option<String>,
    /// Store paths that were hashed.
    pub paths: u64,
    /// Bytes of their NARs.
    pub bytes: u64,
    /// What is wrong: a path, and how.
    pub damaged: Vec<(String, String)>,
    /// What has changed since, in words.
    pub changed: Vec<String>,
}

/// A card cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has no root of a NixOS.
    #[error("there is no NixOS on it: {0}")]
    NotOurs(String),
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(io::Error),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// Sees how far it has come, in bytes of NARs, of how many.
pub type Seen<'a> = dyn Fn(u64, u64) + 'a;

/// Judges a card or an image.
pub fn content(disk: &dyn ReadAt, stop: &AtomicBool, seen: &Seen<'_>) -> Result<Content, Error> {
    let ext4 = root(disk)?;
    let mut check = Check { ext4: &ext4, stop, damaged: Vec::new(), changed: Vec::new() };
    let manifest = check.manifest();
    let mut registered = check.database()?;
    let text = |key: &str| manifest.as_ref()?.get(key)?.as_str().map(str::to_owned);
    let (toplevel, board, version) = (text("toplevel"), text("board"), text("nixflash"));
    // What the manifest lists must be there with the same hash, whatever the database says by now.
    for (path, hash) in listed(manifest.as_ref()) {
        match registered.get(&path) {
            Some((known, _)) if *known == hash => {}
            Some(_) => check.bad(&path.to_string(), "its hash in the database is not that of the manifest"),
            None => check.since(format!("{path} was removed")),
        }
    }
    let total = registered.values().map(|(_, size)| size).sum();
    let mut names = check.store()?;
    let (mut paths, mut bytes) = (0, 0);
    for (path, (hash, size)) in &mut registered {
        check.interrupted()?;
        seen(bytes, total);
        paths += 1;
        bytes += *size;
        let Some(number) = names.remove(path.base_name().as_bytes()) else {
            check.bad(&path.to_string(), "it is registered, and not there");
            continue;
        };
        match check.nar(number, *size) {
            Ok(found) if found == *hash => {}
            Ok(_) => check.bad(&path.to_string(), "its contents are not those that were registered"),
            Err(Stop::Interrupted) => return Err(Error::Interrupted),
            Err(Stop::Gone(source)) => return Err(Error::Read(source)),
            Err(Stop::Bad(why)) => check.bad(&path.to_string(), &why),
        }
    }
    seen(bytes, total);
    for name in names.into_keys().filter(|name| !name.starts_with(b".")) {
        check.since(format!("{STORE_DIR}/{} is not registered", String::from_utf8_lossy(&name)));
    }
    check.profile(toplevel.as_deref());
    if ext4.superblock.needs_recovery {
        check.since("its journal has to be replayed: it was not unmounted".to_owned());
    }
    if ext4.superblock.has_errors {
        check.bad("ext4", "the kernel has found errors in it");
    }
    let made_for = board.map(|board| match version {
        Some(version) => format!("{board} by nixflash {version}"),
        None => board,
    });
    let Check { damaged, changed, .. } = check;
    let verdict = match (damaged.is_empty(), changed.is_empty()) {
        (false, _) => Verdict::Damaged,
        (true, false) => Verdict::Changed,
        (true, true) => Verdict::Intact,
    };
    Ok(Content { verdict, toplevel, made_for, paths, bytes, damaged, changed })
}

type Part<'a> = Window<&'a dyn ReadAt>;

/// The ext4 that has a store: in one of the partitions, or the whole of what was given.
fn root(disk: &dyn ReadAt) -> Result<Ext4<Part<'_>>, Error> {
    let reading = partition_table::read(disk).map_err(|error| Error::Read(error.source))?;
    let mut spans: Vec<(u64, u64)> = reading.places().iter().map(|span| (span.start, span.len)).collect();
    if spans.is_empty() {
        spans.push((0, disk.size()));
    }
    let mut why = "no ext4 with a /nix/store".to_owned();
    for (start, len) in spans {
        match Ext4::open(Window::new(disk, start, len)) {
            Ok(ext4) => match ext4.resolve(STORE_DIR.as_bytes()) {
                Ok(_) => return Ok(ext4),
                Err(ext4_read::Error::Io { source, .. }) => return Err(Error::Read(source)),
                Err(_) => {}
            },
            Err(ext4_read::Error::None) => {}
            Err(ext4_read::Error::Io { source, .. }) => return Err(Error::Read(source)),
            Err(error) => why = error.to_string(),
        }
    }
    Err(Error::NotOurs(why))
}

/// The store paths of a manifest with their hashes.
fn listed(manifest: Option<&serde_json::Value>) -> Vec<(StorePath, [u8; 32])> {
    let entries = manifest.and_then(|manifest| manifest.get("storePaths")?.as_array());
    let entry = |value: &serde_json::Value| {
        let path = StorePath::from_absolute(value.get("path")?.as_str()?).ok()?;
        Some((path, nar_hash::parse(value.get("narHash")?.as_str()?)?))
    };
    entries.into_iter().flatten().filter_map(entry).collect()
}

/// Why a path was given up.
enum Stop {
    Interrupted,
    Gone(io::Error),
    Bad(String),
}

impl From<ext4_read::Error> for Stop {
    fn from(error: ext4_read::Error) -> Self {
        match error {
            // A sector that cannot be read is damage; a card that is gone ends all.
            ext4_read::Error::Io { source, .. } if crate::device::scan::is_gone(&source) => {
                Self::Gone(source)
            }
            other => Self::Bad(other.to_string()),
        }
    }
}

struct Check<'a, R> {
    ext4: &'a Ext4<R>,
    stop: &'a AtomicBool,
    damaged: Vec<(String, String)>,
    changed: Vec<String>,
}

/// What is still to be written of a NAR.
enum Step {
    Node(u32),
    Entry(Vec<u8>),
    /// The end of an entry.
    CloseEntry,
    /// The end of a directory.
    Close,
}

impl<R: ReadAt> Check<'_, R> {
    fn bad(&mut self, path: &str, how: &str) {
        if self.damaged.len() < LISTED {
            self.damaged.push((path.to_owned(), how.to_owned()));
        }
    }

    fn since(&mut self, what: String) {
        if self.changed.len() < LISTED {
            self.changed.push(what);
        }
    }

    fn interrupted(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn manifest(&mut self) -> Option<serde_json::Value> {
        match self.ext4.read_file(MANIFEST, MAX_MANIFEST) {
            Ok(bytes) => match json::parse(&bytes) {
                Ok(manifest) => Some(manifest),
                Err(error) => {
                    self.bad(MANIFEST, &error.to_string());
                    None
                }
            },
            Err(ext4_read::Error::NotFound(_)) => {
                self.since("it has no manifest: nixflash did not make it, or it was removed".to_owned());
                None
            }
            Err(error) => {
                self.bad(MANIFEST, &error.to_string());
                None
            }
        }
    }

    /// Registered paths with their NAR hashes and lengths.
    fn database(&mut self) -> Result<BTreeMap<StorePath, ([u8; 32], u64)>, Error> {
        let lost = |error: &dyn std::fmt::Display| Error::NotOurs(format!("{DATABASE}: {error}"));
        let inode = self.ext4.resolve(DATABASE.as_bytes()).map_err(|error| lost(&error))?;
        if inode.size > MAX_DATABASE {
            return Err(lost(&format!("it has {} bytes, expected at most {MAX_DATABASE}", inode.size)));
        }
        let reader = self.ext4.open_file(&inode).map_err(|error| lost(&error))?;
        let db = nix_db::open_untrusted(reader, inode.size).map_err(|error| lost(&error))?;
        if self.ext4.resolve(WRITE_AHEAD_LOG.as_bytes()).is_ok_and(|log| log.size > 0) {
            self.since(
                "the database has a log that was not merged: what was registered last is not known"
                    .to_owned(),
            );
        }
        let mut found = BTreeMap::new();
        for path in nix_db::paths(&db).map_err(|error| lost(&error))? {
            match nix_db::find(&db, &path) {
                Ok(Some(row)) => drop(found.insert(path, (row.nar_hash, row.nar_size))),
                Ok(None) => {}
                Err(error) => self.bad(&path.to_string(), &error.to_string()),
            }
        }
        Ok(found)
    }

    /// The names in the store with their inodes.
    fn store(&mut self) -> Result<BTreeMap<Vec<u8>, u32>, Error> {
        let store =
            self.ext4.resolve(STORE_DIR.as_bytes()).map_err(|error| Error::NotOurs(error.to_string()))?;
        let mut names = BTreeMap::new();
        match self.ext4.read_dir(&store) {
            Ok(entries) => {
                for entry in entries {
                    match entry {
                        Ok(entry) => drop(names.insert(entry.name, entry.inode)),
                        Err(error) => self.bad(STORE_DIR, &error.to_string()),
                    }
                }
            }
            Err(error) => self.bad(STORE_DIR, &error.to_string()),
        }
        Ok(names)
    }

    /// The NAR hash of what an inode is the root of. No more is read than a NAR of `size` bytes can hold.
    fn nar(&self, root: u32, size: u64) -> Result<[u8; 32], Stop> {
        let (mut hash, mut out, mut len) = (Sha256::new(), Vec::new(), 0u64);
        let mut steps = vec![Step::Node(root)];
        Framing::start(&mut out);
        let mut flush = |out: &mut Vec<u8>| {
            len += num::to_u64(out.len());
            hash.update(&*out);
            out.clear();
            if len > size {
                Err(Stop::Bad(format!("it is longer than the {size} bytes that were registered")))
            } else {
                Ok(())
            }
        };
        let mut depth = 0_usize;
        while let Some(step) = steps.pop() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Stop::Interrupted);
            }
            match step {
                Step::Entry(name) => Framing::entry(&mut out, &name),
                Step::CloseEntry => Framing::close(&mut out),
                Step::Close => {
                    depth = depth.saturating_sub(1);
                    Framing::close(&mut out);
                }
                Step::Node(number) => {
                    let inode = self.ext4.inode(number)?;
                    match inode.kind {
                        Kind::Symlink => Framing::symlink(&mut out, &self.ext4.read_link(&inode)?),
                        Kind::File => self.file(&inode, &mut out, &mut flush)?,
                        Kind::Directory => {
                            depth += 1;
                            if depth > MAX_DEPTH {
                                return Err(Stop::Bad("its directories are too deep".to_owned()));
                            }
                            Framing::directory(&mut out);
                            self.entries(&inode, &mut steps)?;
                        }
                        Kind::Other => return Err(Stop::Bad("it holds what no NAR can".to_owned())),
                    }
                }
            }
            flush(&mut out)?;
        }
        let found = hash.finalize().into();
        Ok(found)
    }

    /// The entries of a directory as steps, the first on top.
    fn entries(&self, directory: &Inode, steps: &mut Vec<Step>) -> Result<(), Stop> {
        let entries: Result<Vec<_>, _> = self.ext4.read_dir(directory)?.collect();
        let mut entries = entries?;
        entries.sort_by(|a, b| b.name.cmp(&a.name));
        steps.push(Step::Close);
        for entry in entries {
            // An entry is closed behind its node; a stack has what comes last at its bottom.
            steps.push(Step::CloseEntry);
            steps.push(Step::Node(entry.inode));
            steps.push(Step::Entry(entry.name));
        }
        Ok(())
    }

    fn file(
        &self,
        inode: &Inode,
        out: &mut Vec<u8>,
        flush: &mut impl FnMut(&mut Vec<u8>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        Framing::file(out, inode.mode & 0o111 != 0, inode.size);
        let mut contents = self.ext4.open_file(inode)?;
        while let Some(bytes) = contents.next_chunk()? {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Stop::Interrupted);
            }
            out.extend(bytes);
            flush(out)?;
        }
        Framing::file_end(out, inode.size);
        Ok(())
    }

    /// Whether the system profile still is the one that was composed.
    fn profile(&mut self, toplevel: Option<&str>) {
        let link = |path: &str| {
            let inode = self.ext4.lookup(path.as_bytes()).ok()?;
            Some(String::from_utf8_lossy(&self.ext4.read_link(&inode).ok()?).into_owned())
        };
        let system = link(&format!("{PROFILES}/system"));
        let Some(system) = system else {
            self.bad(&format!("{PROFILES}/system"), "it is no link to a system");
            return;
        };
        let target = if system.starts_with('/') { system } else { format!("{PROFILES}/{system}") };
        let now = if target.starts_with(STORE_DIR) { Some(target.clone()) } else { link(&target) };
        match (now, toplevel) {
            (Some(now), Some(then)) if now != then => self.since(format!("its system is {now} now")),
            (None, _) => self.bad(&target, "it is no link to a system"),
            _ => {}
        }
    }
}
