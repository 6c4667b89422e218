//! Directory blocks: one linear block, or a hash tree (htree) as soon as one does not hold all names.

use super::namespace::{Dir, Entry, Namespace, count, index};
use super::options::Error;
use crate::format::disk::ext4::ondisk::block::BLOCK_LEN;
use crate::format::disk::ext4::ondisk::directory::{
    self as ondisk, FT_DIR, FT_DIR_CSUM, HEADER, INDEX_ENTRY, Index, NODE_INDEX, ROOT_INDEX, TAIL,
};
use crate::format::disk::ext4::ondisk::hash::half_md4;
use crate::format::disk::ext4::ondisk::superblock::HASH_HALF_MD4;
use crate::ints;

const USABLE: usize = BLOCK_LEN - TAIL;
/// Index entries in the first block of a tree: one slot is the checksum's.
const ROOT_LIMIT: usize = (BLOCK_LEN - ROOT_INDEX) / INDEX_ENTRY - 1;
/// Index entries in an inner block.
const NODE_LIMIT: usize = (BLOCK_LEN - NODE_INDEX) / INDEX_ENTRY - 1;
/// Bytes of "." and of "..".
const DOT: usize = entry_len(2);

/// How the entries of one directory lie in its blocks.
pub enum Shape {
    /// One block, entries in the order of the tree.
    Linear,
    /// lost+found: empty blocks, so that e2fsck need not allocate any.
    Empty(u32),
    /// A hash tree: the first block is its root, the last ones its leaves.
    Tree(Tree),
}

/// A hash tree: the leaves and who points at them.
pub struct Tree {
    /// Entries in hash order, as indices into the directory's entries.
    order: Vec<u32>,
    /// For each leaf: its hash in the index, and its first entry in `order`.
    leaves: Vec<(u32, u32)>,
}

/// Bytes that an entry takes.
const fn entry_len(name_len: usize) -> usize {
    HEADER + name_len.next_multiple_of(4)
}

impl Shape {
    /// Lays out a directory.
    pub fn new<C: Copy>(space: &Namespace<C>, dir: &Dir, seed: &[u8; 16]) -> Result<Self, Error> {
        let entries = &space.entries[index(dir.entries.start)..index(dir.entries.end)];
        let bytes: usize = entries.iter().map(|entry| entry_len(space.name(entry).len())).sum();
        if bytes + 2 * DOT <= USABLE {
            return Ok(Self::Linear);
        }
        let tree = Tree::new(space, entries, seed);
        if tree.leaves.len() > ROOT_LIMIT * NODE_LIMIT {
            return Err(Error::TooLarge);
        }
        Ok(Self::Tree(tree))
    }

    /// How many blocks the directory has.
    pub fn blocks(&self) -> u32 {
        match self {
            Self::Linear => 1,
            Self::Empty(blocks) => *blocks,
            Self::Tree(tree) => 1 + tree.nodes() + count(tree.leaves.len()),
        }
    }

    /// Whether the inode must say that it has an index.
    pub const fn is_tree(&self) -> bool {
        matches!(self, Self::Tree(_))
    }
}

impl Tree {
    fn new<C: Copy>(space: &Namespace<C>, entries: &[Entry], seed: &[u8; 16]) -> Self {
        let mut hashed: Vec<(u32, u32)> =
            entries.iter().zip(0..).map(|(entry, at)| (half_md4(space.name(entry), seed), at)).collect();
        hashed.sort_unstable();
        let mut leaves = Vec::new();
        let mut used = USABLE + 1;
        let mut last = 0;
        for ((hash, at), position) in hashed.iter().zip(0..) {
            let len = entry_len(space.name(&entries[index(*at)]).len());
            if used + len > USABLE {
                // The lowest bit says that the hash began in the leaf before.
                let continued = u32::from(position > 0 && *hash == last);
                leaves.push((hash | continued, position));
                used = 0;
            }
            used += len;
            last = *hash;
        }
        Self { order: hashed.into_iter().map(|(_, at)| at).collect(), leaves }
    }

    /// Inner blocks between the root and the leaves.
    fn nodes(&self) -> u32 {
        if self.leaves.len() <= ROOT_LIMIT { 0 } else { count(self.leaves.len().div_ceil(NODE_LIMIT)) }
    }
}

/// Renders the blocks of one directory.
pub struct Renderer<'a, C> {
    /// The names and inodes of the whole tree.
    pub space: &'a Namespace<C>,
    /// The directory whose blocks are wanted.
    pub dir: &'a Dir,
    /// How its entries lie in its blocks.
    pub shape: &'a Shape,
    /// The checksum seed of its inode.
    pub seed: u32,
}

impl<C: Copy> Renderer<'_, C> {
    /// Renders block `block` of the directory.
    pub fn block(&self, block: u32, out: &mut [u8]) {
        out.fill(0);
        match self.shape {
            Shape::Linear => self.linear(out),
            Shape::Empty(_) => {
                if block == 0 {
                    let at = self.dots(out);
                    stretch(out, at, USABLE);
                } else {
                    put(out, 0, &Record { inode: 0, len: USABLE, kind: 0, name: b"" });
                }
                self.tail(out);
            }
            Shape::Tree(tree) => match block {
                0 => self.root(tree, out),
                n if n <= tree.nodes() => self.node(tree, index(n - 1), out),
                n => self.leaf(tree, index(n - 1 - tree.nodes()), out),
            },
        }
    }

    fn entries(&self) -> &[Entry] {
        &self.space.entries[index(self.dir.entries.start)..index(self.dir.entries.end)]
    }

    /// Writes "." and ".." and gives where ".." begins.
    fn dots(&self, out: &mut [u8]) -> usize {
        put(out, 0, &Record { inode: self.dir.inode, len: DOT, kind: FT_DIR, name: b"." });
        put(out, DOT, &Record { inode: self.dir.parent, len: DOT, kind: FT_DIR, name: b".." });
        DOT
    }

    fn linear(&self, out: &mut [u8]) {
        let mut last = self.dots(out);
        let mut at = 2 * DOT;
        for entry in self.entries() {
            last = at;
            at += self.entry(out, at, entry);
        }
        stretch(out, last, USABLE);
        self.tail(out);
    }

    fn leaf(&self, tree: &Tree, leaf: usize, out: &mut [u8]) {
        let from = index(tree.leaves[leaf].1);
        let to = tree.leaves.get(leaf + 1).map_or(tree.order.len(), |next| index(next.1));
        let (mut at, mut last) = (0, 0);
        for entry in &tree.order[from..to] {
            last = at;
            at += self.entry(out, at, &self.entries()[index(*entry)]);
        }
        stretch(out, last, USABLE);
        self.tail(out);
    }

    fn entry(&self, out: &mut [u8], at: usize, entry: &Entry) -> usize {
        let name = self.space.name(entry);
        let len = entry_len(name.len());
        put(out, at, &Record { inode: entry.inode, len, kind: entry.kind, name });
        len
    }

    fn root(&self, tree: &Tree, out: &mut [u8]) {
        let dotdot = self.dots(out);
        stretch(out, dotdot, BLOCK_LEN);
        let levels = u8::from(tree.nodes() > 0);
        ondisk::DX_HASH_VERSION.put(out, HASH_HALF_MD4);
        ondisk::DX_INFO_LENGTH.put(out, ondisk::INFO_LENGTH);
        ondisk::DX_INDIRECT_LEVELS.put(out, levels);
        let first_leaf = 1 + tree.nodes();
        let index: Vec<(u32, u32)> = if levels == 0 {
            tree.leaves.iter().zip(first_leaf..).map(|((hash, _), block)| (*hash, block)).collect()
        } else {
            tree.leaves.chunks(NODE_LIMIT).zip(1..).map(|(chunk, block)| (chunk[0].0, block)).collect()
        };
        self.index(out, ROOT_INDEX, ROOT_LIMIT, &index);
    }

    fn node(&self, tree: &Tree, node: usize, out: &mut [u8]) {
        put(out, 0, &Record { inode: 0, len: BLOCK_LEN, kind: 0, name: b"" });
        let first = node * NODE_LIMIT;
        let last = (first + NODE_LIMIT).min(tree.leaves.len());
        let first_block = 1 + tree.nodes() + count(first);
        let index: Vec<(u32, u32)> = tree.leaves[first..last]
            .iter()
            .zip(first_block..)
            .map(|((hash, _), block)| (*hash, block))
            .collect();
        self.index(out, NODE_INDEX, NODE_LIMIT, &index);
    }

    /// Writes index entries at `at` and the checksum behind the last slot.
    fn index(&self, out: &mut [u8], at: usize, limit: usize, entries: &[(u32, u32)]) {
        for (slot, (hash, block)) in out[at..].chunks_exact_mut(INDEX_ENTRY).zip(entries) {
            ondisk::DX_HASH.put(slot, *hash);
            ondisk::DX_BLOCK.put(slot, *block);
        }
        // The first entry has no hash.
        ondisk::DX_LIMIT.put_low(&mut out[at..], ints::to_u64(limit));
        ondisk::DX_COUNT.put_low(&mut out[at..], ints::to_u64(entries.len()));
        let index = Index { at, limit, count: entries.len() };
        let sum = index.sum(self.seed, out);
        ondisk::DT_CHECKSUM.from(index.tail()).put(out, sum);
    }

    fn tail(&self, out: &mut [u8]) {
        put(out, USABLE, &Record { inode: 0, len: TAIL, kind: FT_DIR_CSUM, name: b"" });
        let sum = ondisk::leaf_sum(self.seed, out);
        ondisk::DET_CHECKSUM.from(USABLE).put(out, sum);
    }
}

struct Record<'a> {
    inode: u32,
    len: usize,
    kind: u8,
    name: &'a [u8],
}

fn put(out: &mut [u8], at: usize, record: &Record<'_>) {
    let out = &mut out[at..];
    ondisk::DE_INODE.put(out, record.inode);
    ondisk::DE_REC_LEN.put_low(out, ints::to_u64(record.len));
    ondisk::DE_NAME_LEN.put(out, u8::try_from(record.name.len()).unwrap_or(u8::MAX));
    ondisk::DE_FILE_TYPE.put(out, record.kind);
    out[HEADER..HEADER + record.name.len()].copy_from_slice(record.name);
}

/// Makes the record at `at` reach to `end`.
fn stretch(out: &mut [u8], at: usize, end: usize) {
    ondisk::DE_REC_LEN.from(at).put_low(out, ints::to_u64(end - at));
}

/// The length of a directory in bytes.
pub fn byte_len(shape: &Shape) -> u64 {
    u64::from(shape.blocks()) * ints::to_u64(BLOCK_LEN)
}
