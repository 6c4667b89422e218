//! The directory of what was fetched: files that appear complete or not at all, the last used kept longest.
//!
//! ```text
//! KEPT/lock                            held by every run, shared; alone by who sweeps
//! KEPT/narinfo/SERVER/HASH.narinfo     SERVER: the first 16 digits of the SHA-256 of its address
//! KEPT/nar/HASH.COMPRESSION            HASH: that of the NAR
//! KEPT/nar/HASH.COMPRESSION.sha256     the hash of the file, as it was fetched
//! KEPT/listing/NARHASH.ls              trees that their NARs have confirmed
//! ```
//! The order of use is that of the times of change, which each use sets: times of access are off on many machines.

use crate::num::to_base16;
use crate::store::error::Error;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How files begin that are not complete.
const PARTIAL: &str = ".part-";
/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// The directory, in use.
#[derive(Debug)]
pub struct Kept {
    root: PathBuf,
    /// Bytes that may be kept.
    most: u64,
    /// Locked as long as the directory is in use.
    _lock: File,
}

impl Kept {
    /// Opens the directory, and removes what runs that ended early have left.
    pub fn open(root: &Path, most: u64) -> Result<Self, Error> {
        for directory in ["nar", "narinfo", "listing"].map(|name| root.join(name)) {
            std::fs::create_dir_all(&directory).map_err(|source| Error::io(&directory, source))?;
        }
        let path = root.join("lock");
        let failed = |source| Error::io(&path, source);
        let lock = File::options().create(true).append(true).open(&path).map_err(failed)?;
        if lock.try_lock().is_ok() {
            for file in files(root)?.into_iter().filter(|file| file.is_partial()) {
                remove(&file.path)?;
            }
            lock.unlock().map_err(failed)?;
        }
        lock.lock_shared().map_err(failed)?;
        Ok(Self { root: root.to_owned(), most, _lock: lock })
    }

    /// The file of a kind by its name; the directory of narinfos of a server is made.
    pub fn file(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(name)
    }

    /// Removes what was used longest ago, so that there is room for as many bytes; never what is `in_use`.
    pub fn make_room(&self, bytes: u64, in_use: &BTreeSet<PathBuf>) -> Result<(), Error> {
        remove_oldest(&self.root, self.most.saturating_sub(bytes), in_use)
    }
}

/// Writes a file that appears complete or not at all.
pub fn keep(path: &Path, write: impl FnOnce(&mut File) -> Result<(), Error>) -> Result<(), Error> {
    let failed = |source| Error::io(path, source);
    let directory = path.parent().unwrap_or(path);
    let mut file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(directory).map_err(failed)?;
    write(file.as_file_mut())?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// The file with the hash of a NAR whose name does not tell it.
pub fn sum_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

/// A file whose hash is taken while it is written.
pub struct Summed<'a> {
    file: &'a mut File,
    hash: Sha256,
}

impl<'a> Summed<'a> {
    /// Writes to a file.
    pub fn new(file: &'a mut File) -> Self {
        Self { file, hash: Sha256::new() }
    }

    /// The hash of what was written, in base 16.
    pub fn sum(self) -> String {
        to_base16(&self.hash.finalize())
    }
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Keeps the hash of a file, in base 16, before the file itself: what has no sum is fetched again. In a second line
/// stands the hash that its cache claimed for it, where that is another and its contents were found to be right.
pub fn keep_sum(file: &Path, sum: &str, claimed: Option<&str>) -> Result<(), Error> {
    let text = claimed.map_or_else(|| sum.to_owned(), |claimed| format!("{sum}\n{claimed}"));
    keep(&sum_file(file), |out| out.write_all(text.as_bytes()).map_err(|source| Error::io(file, source)))
}

/// Whether a file has the hash that it had when it was kept, and is the one that a cache claims to have, if it says so:
/// what another cache gave under the same name, and nobody has unpacked yet, is not.
pub fn is_whole(file: &Path, claimed: Option<&[u8; 32]>) -> Result<bool, Error> {
    let (Ok(sums), Ok(mut opened)) = (std::fs::read_to_string(sum_file(file)), File::open(file)) else {
        return Ok(false);
    };
    let expected = sums.lines().next().unwrap_or_default();
    if claimed.is_some_and(|claimed| !sums.lines().any(|line| line == to_base16(claimed))) {
        return Ok(false);
    }
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match opened.read(&mut chunk) {
            Ok(0) => return Ok(to_base16(&hash.finalize()) == expected),
            Ok(read) => hash.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A bad block of the disk is as good a reason to fetch it again.
            Err(_) => return Ok(false),
        }
    }
}

/// Notes that a file was used just now. Where that cannot be noted, it only goes earlier.
pub fn touch(path: &Path) {
    let now = TimeSpec::UTIME_NOW;
    let _ = utimensat(nix::fcntl::AT_FDCWD, path, &TimeSpec::UTIME_OMIT, &now, UtimensatFlags::FollowSymlink);
}

/// Removes a file that may be gone already.
pub fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path, error)),
        _ => Ok(()),
    }
}

/// A file that is kept.
struct Entry {
    used: SystemTime,
    len: u64,
    path: PathBuf,
}

impl Entry {
    fn is_partial(&self) -> bool {
        self.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PARTIAL))
    }

    fn is_in(&self, directory: &str) -> bool {
        self.path.parent().is_some_and(|parent| parent.ends_with(directory))
    }
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// NARs.
    pub nars: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Narinfos.
    pub narinfos: u64,
    /// Listings.
    pub listings: u64,
}

/// The files that are kept; none where the directory does not exist.
fn files(root: &Path) -> Result<Vec<Entry>, Error> {
    let mut files = Vec::new();
    let mut directories = vec![root.join("nar"), root.join("listing")];
    let servers = std::fs::read_dir(root.join("narinfo")).into_iter().flatten().flatten();
    directories.extend(servers.map(|server| server.path()));
    for directory in directories {
        let failed = |source| Error::io(&directory, source);
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // Another run may have taken it away in the meantime.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push(Entry { used, len: metadata.len(), path: entry.path() });
            }
        }
    }
    Ok(files)
}

/// Counts what is kept.
pub fn usage(root: &Path) -> Result<Usage, Error> {
    let mut usage = Usage::default();
    for file in files(root)? {
        usage.bytes += file.len;
        let extension = file.path.extension().unwrap_or_default();
        match () {
            () if file.is_partial() || extension == "sha256" => {}
            () if file.is_in("nar") => usage.nars += 1,
            () if file.is_in("listing") => usage.listings += 1,
            () => usage.narinfos += 1,
        }
    }
    Ok(usage)
}

/// Removes files, those first that were used longest ago, until at most `most` bytes are left.
pub fn prune(root: &Path, most: u64) -> Result<Usage, Error> {
    remove_oldest(root, most, &BTreeSet::new())?;
    usage(root)
}

fn remove_oldest(root: &Path, most: u64, in_use: &BTreeSet<PathBuf>) -> Result<(), Error> {
    let mut files = files(root)?;
    let mut bytes: u64 = files.iter().map(|file| file.len).sum();
    // Ties, as a file system with coarse times makes them, are decided by name.
    files.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
    for file in files {
        if bytes <= most {
            break;
        }
        // What is being fetched belongs to a run.
        if file.is_partial() || in_use.contains(&file.path) {
            continue;
        }
        remove(&file.path)?;
        bytes = bytes.saturating_sub(file.len);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Three files of 1000 bytes, used in the order `older`, `old`, `new`.
    fn filled() -> (tempfile::TempDir, PathBuf) {
        let kept = tempfile::tempdir().unwrap();
        let nars = kept.path().join("nar");
        std::fs::create_dir_all(&nars).unwrap();
        for (name, age) in [("old", 300), ("older", 400), ("new", 10)] {
            let file = File::create(nars.join(name)).unwrap();
            file.set_len(1000).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age);
            // The order of access is the other way round.
            let access = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + age);
            file.set_times(std::fs::FileTimes::new().set_accessed(access).set_modified(time)).unwrap();
        }
        (kept, nars)
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        assert_eq!(usage(Path::new("/nonexistent")).unwrap(), Usage::default());
        let (kept, nars) = filled();
        assert_eq!(prune(kept.path(), 2500).unwrap().nars, 2);
        assert!(!nars.join("older").exists());
        touch(&nars.join("old"));
        assert_eq!(prune(kept.path(), 1500).unwrap().nars, 1);
        assert!(nars.join("old").exists(), "it was used just now");
        assert_eq!(prune(kept.path(), 0).unwrap(), Usage::default());
    }

    #[test]
    fn room_is_made_without_what_is_in_use() {
        let (root, nars) = filled();
        let kept = Kept::open(root.path(), 2500).unwrap();
        kept.make_room(1000, &[nars.join("older")].into()).unwrap();
        assert!(nars.join("older").exists() && !nars.join("old").exists() && !nars.join("new").exists());
    }

    #[test]
    fn what_a_run_left_unfinished_is_swept_when_no_other_run_is_there() {
        let (root, nars) = filled();
        let part = nars.join(".part-x");
        let first = Kept::open(root.path(), 1 << 30).unwrap();
        std::fs::write(&part, "half").unwrap();
        let second = Kept::open(root.path(), 1 << 30).unwrap();
        assert!(part.exists(), "it may be of the first run");
        drop((first, second));
        drop(Kept::open(root.path(), 1 << 30).unwrap());
        assert!(!part.exists() && nars.join("new").exists());
    }
}
