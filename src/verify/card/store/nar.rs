//! One store path: its NAR hash out of the blocks of the ext4, and the attributes that no NAR keeps.

use crate::format::disk::ext4::read as ext4_read;
use crate::format::disk::ext4::read::{Ext4, Groups, Inode, Kind};
use crate::format::nix::nar::Framing;
use crate::format::nix::store_path::STORE_DIR;
use crate::ints;
use crate::verify::card::part::{Part, in_store};
use sha2::{Digest, Sha256};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// How deep a store path may be: paths have at most 4096 bytes.
const MAX_DEPTH: usize = 2048;
/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// Bytes of framing that are gathered before they are hashed.
const GATHERED: usize = 32 << 10;
/// How many faults of one store path are told.
const MAX_FAULTS: usize = 20;

/// Why a path was given up.
pub enum Stop {
    /// The user interrupted.
    Interrupted,
    /// The card is gone.
    Gone(io::Error),
    /// It is damaged.
    Bad(String),
}

impl From<ext4_read::Error> for Stop {
    fn from(error: ext4_read::Error) -> Self {
        match error {
            // A sector that cannot be read is damage; a card that is gone ends all.
            ext4_read::Error::Io { source, .. } if crate::device::read_back::scan::is_gone(&source) => {
                Self::Gone(source)
            }
            other => Self::Bad(other.to_string()),
        }
    }
}

/// Hashes one store path after the other.
pub struct Hasher<'a> {
    ext4: &'a Ext4<Part<'a>>,
    groups: Groups<'a, Part<'a>>,
    stop: &'a AtomicBool,
    buffer: Vec<u8>,
    /// What is wrong though the contents are right: a path, and how.
    pub faults: Vec<(String, String)>,
}

/// What is still to be written of a NAR.
enum Step {
    /// An inode, what the entry says that it is, and the directory that the entry is in.
    Node(u32, u8, u32),
    Entry(Vec<u8>),
    /// The end of an entry, whose name is that long.
    CloseEntry(usize),
    /// The end of a directory.
    Close,
}

/// A NAR so far.
struct Nar {
    hash: Sha256,
    out: Vec<u8>,
    /// How many more bytes there may be.
    left: u64,
    /// The path of what is being written.
    path: Vec<u8>,
}

impl Nar {
    fn flush(&mut self) -> Result<(), Stop> {
        self.take(ints::to_u64(self.out.len()))?;
        self.hash.update(&self.out);
        self.out.clear();
        Ok(())
    }

    fn take(&mut self, len: u64) -> Result<(), Stop> {
        let longer = || Stop::Bad("it is longer than was registered".to_owned());
        self.left = self.left.checked_sub(len).ok_or_else(longer)?;
        Ok(())
    }
}

impl<'a> Hasher<'a> {
    /// Reads one file system.
    pub fn new(ext4: &'a Ext4<Part<'a>>, stop: &'a AtomicBool) -> Self {
        Self { ext4, groups: ext4.groups(), stop, buffer: vec![0; CHUNK], faults: Vec::new() }
    }

    /// The NAR hash of a store path. No more is read than a NAR of `size` bytes can hold.
    pub fn hash(&mut self, name: &[u8], (root, says): (u32, u8), size: u64) -> Result<[u8; 32], Stop> {
        self.faults.clear();
        let path = in_store(name).into_bytes();
        let mut nar = Nar { hash: Sha256::new(), out: Vec::with_capacity(GATHERED * 2), left: size, path };
        Framing::start(&mut nar.out);
        let mut steps = vec![Step::Node(root, says, self.store()?)];
        let mut depth = 0_usize;
        while let Some(step) = steps.pop() {
            match step {
                Step::Entry(name) => {
                    Framing::entry(&mut nar.out, &name);
                    nar.path.push(b'/');
                    nar.path.extend_from_slice(&name);
                }
                Step::CloseEntry(len) => {
                    Framing::close(&mut nar.out);
                    nar.path.truncate(nar.path.len() - len - 1);
                }
                Step::Close => {
                    depth = depth.saturating_sub(1);
                    Framing::close(&mut nar.out);
                }
                Step::Node(number, says, parent) => {
                    let is_directory = self.node(number, (says, parent), &mut nar, &mut steps)?;
                    depth += usize::from(is_directory);
                    if depth > MAX_DEPTH {
                        return Err(Stop::Bad("its directories are too deep".to_owned()));
                    }
                }
            }
            if nar.out.len() >= GATHERED {
                self.interrupted()?;
                nar.flush()?;
            }
        }
        nar.flush()?;
        if nar.left != 0 {
            return Err(Stop::Bad(format!("its NAR has {} bytes, {size} are registered", size - nar.left)));
        }
        Ok(nar.hash.finalize().into())
    }

    /// The inode of the store, which is the parent of all its paths.
    fn store(&self) -> Result<u32, Stop> {
        Ok(self.ext4.lookup(STORE_DIR.as_bytes())?.number)
    }

    fn interrupted(&self) -> Result<(), Stop> {
        if self.stop.load(Ordering::Relaxed) { Err(Stop::Interrupted) } else { Ok(()) }
    }

    /// Writes what an inode is; of a directory its beginning, and whether it is one.
    fn node(
        &mut self,
        number: u32,
        (says, parent): (u8, u32),
        nar: &mut Nar,
        steps: &mut Vec<Step>,
    ) -> Result<bool, Stop> {
        let inode = self.ext4.inode(number)?;
        self.ext4.check_type(&inode, says)?;
        self.attributes(&inode, &nar.path)?;
        match inode.kind {
            Kind::Symlink => Framing::symlink(&mut nar.out, &self.ext4.read_link(&inode)?),
            Kind::File => self.file(&inode, nar)?,
            Kind::Directory => {
                Framing::directory(&mut nar.out);
                self.ext4.check_directory(&inode, parent)?;
                self.entries(&inode, steps)?;
            }
            Kind::Other => {
                let path = String::from_utf8_lossy(&nar.path);
                return Err(Stop::Bad(format!("{path} is neither file, directory nor symlink")));
            }
        }
        Ok(inode.kind == Kind::Directory)
    }

    /// The entries of a directory as steps, the first on top.
    fn entries(&self, directory: &Inode, steps: &mut Vec<Step>) -> Result<(), Stop> {
        let entries: Result<Vec<_>, _> = self.ext4.read_dir(directory)?.collect();
        let mut entries = entries?;
        entries.sort_by(|a, b| b.name.cmp(&a.name));
        steps.push(Step::Close);
        for entry in entries {
            // An entry is closed behind its node; a stack has what comes last at its bottom.
            steps.push(Step::CloseEntry(entry.name.len()));
            steps.push(Step::Node(entry.inode, entry.says, directory.number));
            steps.push(Step::Entry(entry.name));
        }
        Ok(())
    }

    fn file(&mut self, inode: &Inode, nar: &mut Nar) -> Result<(), Stop> {
        Framing::file(&mut nar.out, inode.mode & 0o111 != 0, inode.size);
        nar.flush()?;
        // Before it is read: a hole may be said to have any length.
        nar.take(inode.size)?;
        let mut contents = self.ext4.open_file(inode)?;
        // Files that share blocks could else name all of them each, for ever.
        let mapped: u64 = contents.places().map(|(_, len)| len).sum();
        let needed = inode.size.div_ceil(self.ext4.superblock.block_size);
        if mapped > needed {
            self.fault(&nar.path, "it has blocks behind its end");
        }
        for (start, len) in contents.places().filter(|_| mapped <= needed) {
            if !self.groups.uses(start, len)? {
                self.fault(&nar.path, "some of its blocks are marked as free");
                break;
            }
        }
        loop {
            let len = contents.read_into(&mut self.buffer)?;
            if len == 0 {
                break;
            }
            nar.hash.update(&self.buffer[..len]);
            self.interrupted()?;
        }
        Framing::file_end(&mut nar.out, inode.size);
        Ok(())
    }

    fn fault(&mut self, path: &[u8], how: &str) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push((String::from_utf8_lossy(path).into_owned(), how.to_owned()));
        }
    }

    /// What Nix gives to every object of the store, and what a NAR does not keep.
    fn attributes(&mut self, inode: &Inode, path: &[u8]) -> Result<(), Stop> {
        if (inode.uid, inode.gid) != (0, 0) {
            self.fault(path, &format!("it is owned by {}:{}, expected 0:0", inode.uid, inode.gid));
        }
        let is_right = match inode.kind {
            Kind::File => matches!(inode.mode, 0o444 | 0o555),
            Kind::Directory => inode.mode == 0o555,
            Kind::Symlink | Kind::Other => true,
        };
        if !is_right {
            let special = if inode.mode & 0o6000 == 0 { "" } else { ", which is setuid or setgid" };
            self.fault(path, &format!("its mode is {:04o}{special}, expected 0444 or 0555", inode.mode));
        }
        if inode.mtime != 1 {
            self.fault(path, &format!("its time is {}, expected 1", inode.mtime));
        }
        if inode.is_locked() {
            self.fault(path, "it is immutable or append-only");
        }
        if inode.has_attributes {
            self.fault(path, "it has extended attributes, such as capabilities or an ACL");
        }
        if !self.groups.uses_inode(inode.number)? {
            self.fault(path, "its inode is marked as free");
        }
        Ok(())
    }
}
