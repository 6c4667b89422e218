//! A binary cache in a directory: `nix-cache-info`, narinfos, compressed NARs.

use crate::format::nix::listing;
use crate::format::nix::nar::Room;
use crate::format::nix::narinfo::NarInfo;
use crate::format::nix::store_path::{STORE_DIR, StorePath};
use crate::ints;
use crate::store::error::Error;
use crate::store::interface::{PathInfo, Store};
use crate::store::trust::keys::facts;
use crate::stream::decompress::Compression;
use crate::tree::Node;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

/// The longest narinfo that is read, in bytes: 10,000 references.
pub(crate) const MAX_NARINFO: u64 = 4 << 20;
/// The longest `nix-cache-info`, in bytes: three lines.
const MAX_CACHE_INFO: u64 = 64 << 10;

/// A cache in a directory.
pub struct Cache {
    root: PathBuf,
    /// Narinfos by path, so that opening a NAR does not read its narinfo again.
    known: Mutex<BTreeMap<StorePath, NarInfo>>,
    /// What trees of listings may take in memory.
    room: Room,
}

impl Cache {
    /// Opens a cache; `nix-cache-info` may be missing, but must not speak of another store.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let info = root.join("nix-cache-info");
        match read_text(&info, MAX_CACHE_INFO)? {
            Some(text) => check_store_dir(&info, &text)?,
            None => {
                std::fs::read_dir(root).map_err(|source| Error::io(root, source))?;
            }
        }
        Ok(Self { root: root.to_owned(), known: Mutex::default(), room: Room::default() })
    }

    fn narinfo(&self, path: &StorePath) -> Result<Option<NarInfo>, Error> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(info) = known.get(path) {
            return Ok(Some(info.clone()));
        }
        let file = self.root.join(format!("{}.narinfo", path.hash_part()));
        let Some(info) = read_narinfo(&file)? else { return Ok(None) };
        if info.path != *path {
            let (expected, found) = (path.to_string(), info.path.to_string());
            return Err(Error::Mismatch {
                path: file.display().to_string(),
                what: "its StorePath",
                expected,
                found,
            });
        }
        known.insert(path.clone(), info.clone());
        Ok(Some(info))
    }

    fn needed(&self, path: &StorePath) -> Result<NarInfo, Error> {
        let missing =
            || Error::Missing { path: path.to_string(), stores: self.name(), referrer: String::new() };
        self.narinfo(path)?.ok_or_else(missing)
    }

    /// The file of a NAR; a URL that leads out of the cache is refused.
    fn nar_file(&self, info: &NarInfo) -> Result<PathBuf, Error> {
        let relative = Path::new(&info.url);
        let inside =
            relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside || info.url.contains("://") || info.url.contains('%') {
            let expected = "a file in the cache".to_owned();
            return Err(Error::Mismatch {
                path: info.path.to_string(),
                what: "the URL of its NAR",
                expected,
                found: info.url.clone(),
            });
        }
        Ok(self.root.join(relative))
    }
}

pub(crate) fn check_store_dir(file: &Path, text: &str) -> Result<(), Error> {
    let directory = text.lines().find_map(|line| line.strip_prefix("StoreDir:")).map_or(STORE_DIR, str::trim);
    if directory == STORE_DIR {
        return Ok(());
    }
    let (expected, found) = (STORE_DIR.to_owned(), directory.to_owned());
    Err(Error::Mismatch { path: file.display().to_string(), what: "its StoreDir", expected, found })
}

fn read_narinfo(file: &Path) -> Result<Option<NarInfo>, Error> {
    let Some(text) = read_text(file, MAX_NARINFO)? else { return Ok(None) };
    let parsed = NarInfo::parse(&text)
        .map_err(|source| Error::NarInfo { path: file.display().to_string(), source })?;
    Ok(Some(parsed))
}

/// The text of a file, or `None` when there is none.
fn read_text(file: &Path, limit: u64) -> Result<Option<String>, Error> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io(file, source)),
    };
    let mut bytes = Vec::new();
    opened.take(limit + 1).read_to_end(&mut bytes).map_err(|source| Error::io(file, source))?;
    let message = |message: String| Error::File { path: file.display().to_string(), message };
    if ints::to_u64(bytes.len()) > limit {
        return Err(message(format!("is longer than {limit} bytes")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| message("is not text".to_owned()))
}

/// Opens the file of a NAR, decoded as the narinfo says.
pub(crate) fn open_packed(file: &Path, info: &NarInfo) -> Result<Box<dyn BufRead + Send>, Error> {
    let unknown = || Error::Mismatch {
        path: info.path.to_string(),
        what: "the compression of its NAR",
        expected: "none, xz, zstd, bzip2, gzip, br or lz4".to_owned(),
        found: info.compression.clone(),
    };
    let compression = Compression::of_word(&info.compression).ok_or_else(unknown)?;
    let opened = File::open(file).map_err(|source| Error::io(file, source))?;
    // What is packed is believed by its contents alone, as Nix does: a wrong FileSize or FileHash hurts nobody.
    let packed = BufReader::with_capacity(256 << 10, opened);
    compression.open(Box::new(packed)).map_err(|source| Error::io(file, source))
}

impl Store for Cache {
    fn name(&self) -> String {
        format!("file://{}", self.root.display())
    }

    fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, Error> {
        Ok(self.narinfo(path)?.map(facts))
    }

    fn open_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, Error> {
        let info = self.needed(path)?;
        open_packed(&self.nar_file(&info)?, &info)
    }

    /// What is wrong with a listing is no failure: the NAR tells as well.
    fn listing(&self, path: &StorePath) -> Result<Option<Node<()>>, Error> {
        let Ok(file) = File::open(self.root.join(format!("{}.ls", path.hash_part()))) else {
            return Ok(None);
        };
        let info = self.needed(path)?;
        let most = listing::longest(info.nar_size);
        let mut json = Vec::new();
        let read = file.take(most + 1).read_to_end(&mut json);
        if read.is_err() || ints::to_u64(json.len()) > most {
            return Ok(None);
        }
        Ok(listing::parse(&json, info.nar_size, &self.room).ok())
    }

    fn is_packed(&self) -> bool {
        true
    }

    fn names(&self) -> Result<Vec<StorePath>, Error> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.root).map_err(|source| Error::io(&self.root, source))? {
            let file = entry.map_err(|source| Error::io(&self.root, source))?.path();
            if file.extension().is_some_and(|extension| extension == "narinfo")
                && let Some(info) = read_narinfo(&file)?
            {
                paths.push(info.path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}
