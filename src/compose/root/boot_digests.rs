//! What boots, digested while planning: files of firmware and boot loaders, kernels, initrds, device trees.
//!
//! No file system keeps a checksum of these, and a boot loader checks none; the manifest does.

use crate::compose::closure::Forest;
use crate::compose::content::Content;
use crate::compose::error::Error;
use crate::compose::literals::Literals;
use crate::tree::{Kind, Node};
use crate::workers;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// One file that nixflash puts onto a card so that it boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFile {
    /// The number of its partition; 0 outside of all.
    pub partition: usize,
    /// Its path there.
    pub path: String,
    /// Where on the card it begins, in bytes, if it is outside of all partitions.
    pub offset: Option<u64>,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// Files whose digests are wanted, each with where its bytes are.
#[derive(Default)]
pub struct BootFiles {
    found: Vec<BootFile>,
    /// By source, then by the number of the file in it: indices into `found`.
    packed: BTreeMap<u32, BTreeMap<u32, Vec<usize>>>,
}

impl BootFiles {
    /// Takes in every regular file of a tree that stands at `path` on a partition.
    pub fn add(&mut self, partition: usize, path: &str, tree: &Node<Content>, literals: &Literals) {
        let mut open = vec![(path.to_owned(), tree)];
        while let Some((path, node)) = open.pop() {
            match &node.kind {
                Kind::Symlink(_) => {}
                Kind::Directory(directory) => {
                    let child = |name: &[u8]| format!("{path}/{}", String::from_utf8_lossy(name));
                    open.extend(directory.iter().rev().map(|(name, node)| (child(name), node)));
                }
                Kind::File { len, content } => {
                    let file = BootFile { partition, path, offset: None, size: *len, sha256: [0; 32] };
                    self.want(file, *content, literals);
                }
            }
        }
    }

    /// Takes in a boot loader outside of all partitions.
    pub fn add_raw(&mut self, offset: u64, size: u64, content: Content, literals: &Literals) {
        let (path, sha256) = (String::new(), [0; 32]);
        self.want(BootFile { partition: 0, path, offset: Some(offset), size, sha256 }, content, literals);
    }

    fn want(&mut self, mut file: BootFile, content: Content, literals: &Literals) {
        match content {
            Content::Literal(index) => file.sha256 = Sha256::digest(literals.get(index)).into(),
            Content::Packed { source, file } => {
                let wanted = self.packed.entry(source).or_default().entry(file).or_default();
                wanted.push(self.found.len());
            }
        }
        self.found.push(file);
    }

    /// Reads what is in store paths, several at a time, each once, and gives all with their digests.
    ///
    /// A path is not read to its end, so its NAR hash is not checked here; it is when the bytes move.
    pub fn digest(self, forest: &Forest) -> Result<Vec<BootFile>, Error> {
        let Self { mut found, packed } = self;
        let sources: Vec<_> = packed.into_iter().collect();
        let each = |(source, files): &(u32, BTreeMap<u32, Vec<usize>>)| digests(forest, *source, files);
        for digests in workers::try_map(&sources, workers::cores(), each)? {
            for (index, digest) in digests {
                found[index].sha256 = digest;
            }
        }
        Ok(found)
    }
}

type Digests = Vec<(usize, [u8; 32])>;

/// The digests of some files of a source.
fn digests(forest: &Forest, source: u32, files: &BTreeMap<u32, Vec<usize>>) -> Result<Digests, Error> {
    let mut digests = Vec::new();
    let mut payload = forest.open(source)?;
    let (mut left, mut at) = (files.len(), 0);
    while left > 0 && payload.next_file()?.is_some() {
        if let Some(indices) = files.get(&at) {
            let mut hasher = Sha256::new();
            loop {
                let chunk = payload.chunk()?;
                let len = chunk.len();
                if len == 0 {
                    break;
                }
                hasher.update(chunk);
                payload.consume(len);
            }
            let digest = hasher.finalize().into();
            digests.extend(indices.iter().map(|index| (*index, digest)));
            left -= 1;
        }
        at += 1;
    }
    Ok(digests)
}
