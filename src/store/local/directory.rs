//! Store paths as files on this machine.

use super::registered::Knowledge;
use crate::format::nix::nar::{Framing, MAX_DEPTH};
use crate::format::nix::store_path::{STORE_DIR, StorePath};
use crate::ints;
use crate::store::daemon::Daemon;
use crate::store::error::Error;
use crate::store::interface::{PathInfo, Store};
use crate::store::remote::progress::Remote;
use crate::tree;
use crate::tree::Node;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of a NAR made at a time.
const BUFFER: usize = 256 << 10;

/// A store in a directory.
pub struct Directory {
    name: String,
    paths: PathBuf,
    knowledge: Knowledge,
}

impl Directory {
    /// Opens `DIR/nix/store` with its database or its daemon, or a directory with a `registration`, whose paths are in
    /// `paths` or where [`Self::of_file`] looks for them.
    pub fn open(place: &Path, paths: Option<&Path>, remote: &Remote) -> Result<Self, Error> {
        let place = if place.ends_with("nix/store") {
            place.parent().and_then(Path::parent).unwrap_or(place)
        } else {
            place
        };
        let store = place.join("nix/store");
        if store.is_dir()
            && let Some(knowledge) = Knowledge::of_store(place, remote)?
        {
            return Ok(Self { name: place.display().to_string(), paths: store, knowledge });
        }
        for file in ["registration", "nix-path-registration"] {
            let file = place.join(file);
            if file.is_file() {
                return Self::of_file(&file, paths);
            }
        }
        let message = "expected nix/store with nix/var/nix/db/db.sqlite, a registration beside paths, or nix-cache-info in it";
        Err(Error::NoStore { place: place.display().to_string(), message: message.to_owned() })
    }

    /// Opens `DIR/nix/store` with its daemon.
    pub fn of_daemon(place: &Path, remote: &Remote) -> Result<Self, Error> {
        let daemon = Daemon::of_store(place, remote)?;
        let (name, paths) = (daemon.name(), place.join("nix/store"));
        Ok(Self { name, paths, knowledge: Knowledge::Daemon(Box::new(daemon)) })
    }

    /// Opens the paths that a file lists: in `paths`, else beside the file, in the store that the file is in, or in
    /// that of this machine.
    pub fn of_file(file: &Path, paths: Option<&Path>) -> Result<Self, Error> {
        let knowledge = Knowledge::of_file(file)?;
        let inner = |place: &Path| {
            let inner = place.join("nix/store");
            if inner.is_dir() { inner } else { place.to_owned() }
        };
        let beside = inner(file.parent().unwrap_or(file));
        let paths = match (paths, knowledge.example()) {
            (Some(paths), _) => inner(paths),
            (None, Some(example)) => {
                let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
                let above =
                    absolute.ancestors().find(|place| place.ends_with("nix/store")).map(Path::to_owned);
                let mut places = [beside.clone()].into_iter().chain(above).chain([PathBuf::from(STORE_DIR)]);
                let has = |place: &PathBuf| place.join(example.base_name()).symlink_metadata().is_ok();
                places.find(has).unwrap_or(beside)
            }
            (None, None) => beside,
        };
        Ok(Self { name: file.display().to_string(), paths, knowledge })
    }

    fn place(&self, path: &StorePath) -> PathBuf {
        self.paths.join(path.base_name())
    }
}

impl Store for Directory {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, Error> {
        Ok(self.knowledge.find(std::slice::from_ref(path))?.pop().flatten())
    }

    fn path_infos(&self, paths: &[StorePath]) -> Result<Vec<Option<PathInfo>>, Error> {
        self.knowledge.find(paths)
    }

    fn open_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, Error> {
        Ok(Box::new(open_nar(&self.place(path))?))
    }

    fn listing(&self, path: &StorePath) -> Result<Option<Node<()>>, Error> {
        listing(&self.place(path)).map(Some)
    }

    fn is_packed(&self) -> bool {
        false
    }

    fn names(&self) -> Result<Vec<StorePath>, Error> {
        self.knowledge.names()
    }
}

/// A name, and whether it is that of a symlink, which the directory tells for free.
type Name = (OsString, bool);

/// The names in a directory, in the order of a NAR.
fn names(path: &Path) -> Result<Vec<Name>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|source| Error::io(path, source))? {
        let entry = entry.map_err(|source| Error::io(path, source))?;
        let kind = entry.file_type().map_err(|source| Error::io(path, source))?;
        names.push((entry.file_name(), kind.is_symlink()));
    }
    names.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    Ok(names)
}

fn odd(path: &Path) -> Error {
    let message =
        "is neither a regular file, nor a directory, nor a symlink, which a store has not".to_owned();
    Error::File { path: path.display().to_string(), message }
}

fn target(path: &Path) -> Result<Vec<u8>, Error> {
    Ok(std::fs::read_link(path).map_err(|source| Error::io(path, source))?.into_os_string().into_vec())
}

const fn executable(metadata: u32) -> bool {
    metadata & 0o100 != 0
}

/// The tree of a file or directory: nothing of it but names, lengths, targets and the executable bit.
pub fn listing(path: &Path) -> Result<Node<()>, Error> {
    listing_at(path, 0)
}

fn listing_at(path: &Path, depth: usize) -> Result<Node<()>, Error> {
    let metadata = path.symlink_metadata().map_err(|source| Error::io(path, source))?;
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(Node::store_file(executable(metadata.mode()), metadata.len(), ()));
    }
    if kind.is_symlink() {
        return Ok(Node::store_symlink(target(path)?));
    }
    if !kind.is_dir() {
        return Err(odd(path));
    }
    if depth >= MAX_DEPTH {
        let message = format!("more than {MAX_DEPTH} levels of directories");
        return Err(Error::File { path: path.display().to_string(), message });
    }
    let mut entries = Vec::new();
    for (name, is_symlink) in names(path)? {
        let child = path.join(&name);
        let node =
            if is_symlink { Node::store_symlink(target(&child)?) } else { listing_at(&child, depth + 1)? };
        entries.push((name.into_vec().into_boxed_slice(), node));
    }
    // cannot fail: a directory has no name twice
    Ok(Node::store_directory(tree::Directory::from_entries(entries).unwrap_or_default()))
}

/// Opens the NAR of a file or directory.
pub fn open_nar(path: &Path) -> Result<DirectoryNar, Error> {
    path.symlink_metadata().map_err(|source| Error::io(path, source))?;
    let mut nar = DirectoryNar {
        buf: vec![0; BUFFER],
        pos: 0,
        len: 0,
        framing: Vec::new(),
        file: None,
        open: Vec::new(),
        begin: None,
    };
    Framing::start(&mut nar.framing);
    nar.begin = Some(path.to_owned());
    Ok(nar)
}

/// A NAR that is made while it is read. Files are read straight into the buffer that the reader sees.
pub struct DirectoryNar {
    buf: Vec<u8>,
    pos: usize,
    len: usize,
    /// Framing that has not gone into the buffer yet.
    framing: Vec<u8>,
    file: Option<OpenFile>,
    /// Directories that are open, and the names still to come, last first.
    open: Vec<(PathBuf, Vec<Name>)>,
    /// The node that begins next.
    begin: Option<PathBuf>,
}

struct OpenFile {
    file: File,
    path: PathBuf,
    len: u64,
    left: u64,
}

impl DirectoryNar {
    /// Fills the buffer as far as one read of a file or some framing goes; nothing more at the end.
    fn refill(&mut self) -> Result<(), Error> {
        self.pos = 0;
        self.len = 0;
        while self.len < BUFFER {
            if !self.framing.is_empty() {
                let len = self.framing.len().min(BUFFER - self.len);
                self.buf[self.len..self.len + len].copy_from_slice(&self.framing[..len]);
                self.framing.drain(..len);
                self.len += len;
            } else if self.file.is_some() {
                self.read_file()?;
            } else if let Some(path) = self.begin.take() {
                self.node(&path)?;
            } else if self.open.is_empty() {
                break;
            } else {
                self.step()?;
            }
        }
        Ok(())
    }

    /// The next entry of the innermost directory, or its end.
    fn step(&mut self) -> Result<(), Error> {
        let Some((path, names)) = self.open.last_mut() else { return Ok(()) };
        if let Some((name, is_symlink)) = names.pop() {
            Framing::entry(&mut self.framing, name.as_bytes());
            let child = path.join(name);
            if is_symlink {
                Framing::symlink(&mut self.framing, &target(&child)?);
                self.end_of_node();
            } else {
                self.begin = Some(child);
            }
        } else {
            self.open.pop();
            Framing::close(&mut self.framing);
            self.end_of_node();
        }
        Ok(())
    }

    fn end_of_node(&mut self) {
        if !self.open.is_empty() {
            Framing::close(&mut self.framing);
        }
    }

    fn node(&mut self, path: &Path) -> Result<(), Error> {
        // O_NOFOLLOW: a symlink fails with ELOOP, a directory opens; O_NONBLOCK: a FIFO does not hang.
        let opened =
            File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(_) if path.is_symlink() => {
                Framing::symlink(&mut self.framing, &target(path)?);
                self.end_of_node();
                return Ok(());
            }
            Err(source) => return Err(Error::io(path, source)),
        };
        let metadata: Metadata = file.metadata().map_err(|source| Error::io(path, source))?;
        if metadata.is_dir() {
            if self.open.len() >= MAX_DEPTH {
                let message = format!("more than {MAX_DEPTH} levels of directories");
                return Err(Error::File { path: path.display().to_string(), message });
            }
            let mut names = names(path)?;
            names.reverse();
            Framing::directory(&mut self.framing);
            self.open.push((path.to_owned(), names));
        } else if metadata.is_file() {
            let len = metadata.len();
            Framing::file(&mut self.framing, executable(metadata.mode()), len);
            self.file = Some(OpenFile { file, path: path.to_owned(), len, left: len });
        } else {
            return Err(odd(path));
        }
        Ok(())
    }

    fn read_file(&mut self) -> Result<(), Error> {
        let Some(open) = &mut self.file else { return Ok(()) };
        if open.left > 0 {
            let room = ints::to_u64(BUFFER - self.len).min(open.left);
            let into = &mut self.buf[self.len..self.len + ints::to_usize(room)];
            let got = match open.file.read(into) {
                Ok(0) => {
                    let message = format!("became shorter than {} bytes while it was read", open.len);
                    return Err(Error::File { path: open.path.display().to_string(), message });
                }
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(source) => return Err(Error::io(&open.path, source)),
            };
            open.left -= ints::to_u64(got);
            self.len += got;
        }
        if open.left == 0 {
            Framing::file_end(&mut self.framing, open.len);
            self.file = None;
            self.end_of_node();
        }
        Ok(())
    }
}

impl BufRead for DirectoryNar {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.pos == self.len {
            // The error keeps its own type inside, for whoever knows the store.
            self.refill().map_err(|error| io::Error::other(Box::new(error)))?;
        }
        Ok(&self.buf[self.pos..self.len])
    }

    fn consume(&mut self, amount: usize) {
        self.pos += amount;
    }
}

impl Read for DirectoryNar {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let buf = self.fill_buf()?;
        let len = buf.len().min(out.len());
        out[..len].copy_from_slice(&buf[..len]);
        self.consume(len);
        Ok(len)
    }
}
