//! The plain form of a directory: the one that Linux and nixflash write, which every reader takes alike.
//!
//! Readers differ where a directory is odd. Linux finds a name by its hash, U-Boot takes the first in line and knows no
//! `..` but the entry, and neither looks whether a name is there twice. So names must be unique and each in the leaf of
//! its hash, `.` and `..` right and where they belong.
//!
//! Sources: kernel `fs/ext4/namei.c` (`dx_probe`, `ext4_htree_next_block`); U-Boot 2025.01 `fs/ext4/ext4_common.c`
//! (`ext4fs_iterate_dir`, which does not look whether an entry is in use).

use crate::format::disk::ext4::ondisk::directory::{
    DE_FILE_TYPE, DE_INODE, DE_NAME_LEN, DE_REC_LEN, DX_BLOCK, DX_COUNT, DX_HASH, DX_HASH_VERSION,
    DX_INDIRECT_LEVELS, DX_INFO_LENGTH, DX_RESERVED_ZERO, DX_UNUSED_FLAGS, FT_DIR, FT_REG_FILE, FT_SYMLINK,
    HEADER, INDEX_ENTRY, INFO_LENGTH, NODE_INDEX, ROOT_INDEX,
};
use crate::format::disk::ext4::ondisk::hash::half_md4;
use crate::format::disk::ext4::ondisk::superblock::HASH_HALF_MD4;
use crate::format::disk::ext4::read::error::Error;
use crate::format::disk::ext4::read::file_system::Ext4;
use crate::format::disk::ext4::read::inode::{Inode, Kind};
use crate::format::disk::ext4::read::superblock::Hashing;
use crate::ints;
use crate::stream::ReadAt;
use std::collections::{BTreeMap, BTreeSet};

/// Levels of an index, with `large_dir`.
const MAX_LEVELS: u8 = 3;
/// Bytes of the entry `.`, behind which `..` is.
const DOT: usize = 12;
/// The bits of the number of a block in an index that count.
const BLOCK_MASK: u32 = 0x0fff_ffff;

/// The hashes that a leaf of an index may hold: from the first up to, without, the second.
type Range = (u64, u64);

impl Kind {
    /// Whether an entry's type byte says that it is one.
    #[must_use]
    pub const fn is_said(self, byte: u8) -> bool {
        match self {
            Self::File => byte == FT_REG_FILE,
            Self::Directory => byte == FT_DIR,
            Self::Symlink => byte == FT_SYMLINK,
            Self::Other => byte > FT_DIR && byte < FT_SYMLINK,
        }
    }
}

impl<R: ReadAt> Ext4<R> {
    /// Whether a directory has the plain form, below a parent; the first thing that is not plain is the error.
    pub fn check_directory(&self, directory: &Inode, parent: u32) -> Result<(), Error> {
        let mut check = Check { fs: self, directory, parent, leaves: None, names: BTreeSet::new() };
        check.run(Unused::Passed)
    }

    /// The same for a directory that U-Boot looks into: no entry that is out of use has a name that it may look for.
    pub fn check_boot_directory(&self, directory: &Inode, parent: u32) -> Result<(), Error> {
        let mut check = Check { fs: self, directory, parent, leaves: None, names: BTreeSet::new() };
        check.run(Unused::Named)
    }
}

impl<R: ReadAt> Ext4<R> {
    /// Whether an inode is what the entry that names it says.
    pub fn check_type(&self, inode: &Inode, says: u8) -> Result<(), Error> {
        if !self.superblock.types_entries() || inode.kind.is_said(says) {
            return Ok(());
        }
        let number = inode.number;
        Err(Error::Damaged(format!("inode {number} is said to be of the type {says}, and is of another")))
    }
}

/// What is done about entries that are out of use and have a name still.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unused {
    /// Nothing: older kernels leave names.
    Passed,
    /// A name that is in use too, or that boot loaders look for, is an error.
    Named,
}

struct Check<'a, R> {
    fs: &'a Ext4<R>,
    directory: &'a Inode,
    parent: u32,
    /// Of each leaf of the index its hashes, by its block; `None` without an index.
    leaves: Option<BTreeMap<u64, Range>>,
    names: BTreeSet<Vec<u8>>,
}

impl<R: ReadAt> Check<'_, R> {
    fn damaged(&self, what: &str) -> Error {
        Error::Damaged(format!("the directory in inode {} {what}", self.directory.number))
    }

    fn run(&mut self, unused: Unused) -> Result<(), Error> {
        let mut entries = self.fs.read_dir(self.directory)?;
        if self.directory.has_index() {
            self.leaves = Some(self.index()?);
        }
        let mut stale = Vec::new();
        let mut number = 0;
        while let Some(block) = entries.next_raw()? {
            if number == 0 {
                self.dots(&block)?;
            }
            self.block(&block, number, &mut stale)?;
            number += 1;
        }
        if unused == Unused::Named
            && let Some(name) = stale.iter().find(|name| self.names.contains(*name) || is_looked_for(name))
        {
            let name = String::from_utf8_lossy(name);
            return Err(
                self.damaged(&format!("has the name {name:?} in an entry out of use, where U-Boot finds it"))
            );
        }
        Ok(())
    }

    /// `.` and `..` are the first two entries.
    fn dots(&self, block: &[u8]) -> Result<(), Error> {
        let type_of = self.fs.superblock.types_entries();
        let is_right = |entry: &[u8], name: &[u8]| {
            usize::from(DE_NAME_LEN.get(entry)) == name.len()
                && entry[HEADER..].starts_with(name)
                && (!type_of || DE_FILE_TYPE.get(entry) == FT_DIR)
        };
        let (own, len) = (DE_INODE.get(block), usize::from(DE_REC_LEN.get(block)));
        if own != self.directory.number || len != DOT || !is_right(block, b".") {
            return Err(self.damaged("does not begin with itself as ."));
        }
        let second = &block[DOT..];
        if !is_right(second, b"..") {
            return Err(self.damaged("has no .. behind ."));
        }
        let above = DE_INODE.get(second);
        if above != self.parent {
            return Err(self.damaged(&format!("has .. lead to inode {above}, expected {}", self.parent)));
        }
        Ok(())
    }

    /// The entries of one block, which the reader has found well-formed.
    fn block(&mut self, block: &[u8], number: u64, stale: &mut Vec<Vec<u8>>) -> Result<(), Error> {
        let mut at = if number == 0 { DOT + usize::from(DE_REC_LEN.from(DOT).get(block)) } else { 0 };
        let is_index = self.leaves.is_some() && number == 0;
        if is_index {
            return Ok(());
        }
        while at + HEADER <= block.len() {
            let (inode, record) = (DE_INODE.from(at).get(block), usize::from(DE_REC_LEN.from(at).get(block)));
            let len = usize::from(DE_NAME_LEN.from(at).get(block));
            if record < HEADER || at + record > block.len() || (len > 0 && HEADER + len > record) {
                return Err(self.damaged(&format!("has an entry of {record} bytes in block {number}")));
            }
            let name = &block[at + HEADER..at + HEADER + len];
            match inode {
                0 if len > 0 => stale.push(name.to_vec()),
                0 => {}
                _ => self.name(name, number)?,
            }
            at += record;
        }
        Ok(())
    }

    fn name(&mut self, name: &[u8], block: u64) -> Result<(), Error> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        if name == b"." || name == b".." {
            return Err(self.damaged(&format!("has {:?} where only names are", shown())));
        }
        if let Some(leaves) = &self.leaves {
            let Some((low, high)) = leaves.get(&block) else {
                return Err(
                    self.damaged(&format!("has {:?} in block {block}, which its index leaves out", shown()))
                );
            };
            if let Hashing::Signed(seed) = self.fs.superblock.hashing() {
                let hash = u64::from(half_md4(name, &seed));
                if !(*low..*high).contains(&hash) {
                    return Err(self.damaged(&format!(
                        "has {:?} in a leaf of its index that is not that of its hash",
                        shown()
                    )));
                }
            }
        }
        if !self.names.insert(name.to_vec()) {
            return Err(self.damaged(&format!("has the name {:?} twice", shown())));
        }
        Ok(())
    }

    /// The leaves of the index, each named once.
    fn index(&self) -> Result<BTreeMap<u64, Range>, Error> {
        let unit = ints::to_usize(self.fs.superblock.block_size);
        let mut contents = self.fs.contents(self.directory)?;
        let mut read = |block: u64| -> Result<Vec<u8>, Error> {
            let found = contents.block_at(block)?;
            found.map(|(_, bytes)| bytes).ok_or_else(|| self.damaged("has an index with a hole"))
        };
        let root = read(0)?;
        let (version, levels) = (DX_HASH_VERSION.get(&root), DX_INDIRECT_LEVELS.get(&root));
        let is_known = DX_RESERVED_ZERO.get(&root) == 0
            && DX_INFO_LENGTH.get(&root) == INFO_LENGTH
            && DX_UNUSED_FLAGS.get(&root) == 0;
        if !is_known || levels > MAX_LEVELS {
            return Err(self.damaged("has an index of no known form"));
        }
        if matches!(self.fs.superblock.hashing(), Hashing::Signed(_)) && version != HASH_HALF_MD4 {
            return Err(self.damaged(&format!("has an index hashed in the way {version}, expected half MD4")));
        }
        let mut leaves = BTreeMap::new();
        let mut seen = BTreeSet::from([0]);
        let mut open: Vec<(Vec<u8>, usize, u8, Range)> = vec![(root, ROOT_INDEX, levels, (0, 1 << 32))];
        while let Some((node, at, levels, (low, high))) = open.pop() {
            let count = usize::from(DX_COUNT.from(at).get(&node));
            if count == 0 || at + INDEX_ENTRY * count > unit {
                return Err(self.damaged("has an index node without entries"));
            }
            let entry = |slot: usize| at + INDEX_ENTRY * slot;
            let hash = |slot: usize| match slot {
                0 => low,
                _ => u64::from(DX_HASH.from(entry(slot)).get(&node)),
            };
            for slot in 0..count {
                let from = hash(slot);
                let to = if slot + 1 < count { hash(slot + 1) } else { high };
                let block = u64::from(DX_BLOCK.from(entry(slot)).get(&node) & BLOCK_MASK);
                // An odd hash: its even one began in the leaf before.
                if from > to || !seen.insert(block) {
                    return Err(self.damaged("has an index that descends or names a block twice"));
                }
                let range = (from & !1, to);
                if levels == 0 {
                    leaves.insert(block, range);
                } else {
                    open.push((read(block)?, NODE_INDEX, levels - 1, (from, to)));
                }
            }
        }
        Ok(leaves)
    }
}

/// Names at the top of file systems that U-Boot looks for.
fn is_looked_for(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 9] = [
        b"boot",
        b"extlinux",
        b"extlinux.conf",
        b"boot.scr",
        b"boot.scr.uimg",
        b"EFI",
        b"efi",
        b"uboot.env",
        b"uEnv.txt",
    ];
    NAMES.contains(&name)
}
