//! Listings of a cache over http, which tell the tree of a path before its NAR is there.

use super::cache::{CONNECTIONS, Shared};
use super::download_dir::touch;
use super::threads::locked;
use crate::base_n::to_base16;
use crate::format::nix::listing;
use crate::format::nix::narinfo::NarInfo;
use crate::ints;
use crate::tree::Node;
use crate::workers;
use std::convert::Infallible;
use std::io::{self, Read};
use std::path::PathBuf;

/// Listings that are asked for to learn whether a cache has any.
const PROBES: usize = 4;
/// A longer listing is read while no other is, so that many do not take much memory at once.
const SHORT_LISTING: u64 = 1 << 20;

impl Shared {
    pub(crate) fn listing_file(&self, info: &NarInfo) -> PathBuf {
        self.kept.file("listing", &format!("{}.ls", to_base16(&info.nar_hash)))
    }

    /// The tree of a path by a listing that its NAR has confirmed.
    fn kept_listing(&self, info: &NarInfo) -> Option<Node<()>> {
        let file = self.listing_file(info);
        let json = read_bounded(std::fs::File::open(&file).ok()?, listing::longest(info.nar_size)).ok()??;
        touch(&file);
        listing::parse(&json, info.nar_size, &self.listings.room).ok()
    }

    /// The tree of a path by the server's listing. What is wrong with one is no failure: the NAR tells as well.
    fn fetched_listing(&self, info: &NarInfo) -> Option<Node<()>> {
        let address = self.at(&format!("{}.ls", info.path.hash_part()));
        let _question = self.remote.fetched.ask(&self.name());
        let mut download = self.remote.client.get(&address).ok()?;
        let mut json = Vec::new();
        (&mut download).take(SHORT_LISTING).read_to_end(&mut json).ok()?;
        let _long = (ints::to_u64(json.len()) == SHORT_LISTING).then(|| locked(&self.listings.long));
        json.append(&mut read_bounded(download, listing::longest(info.nar_size)).ok()??);
        listing::parse(&json, info.nar_size, &self.listings.room).ok()
    }

    /// Has the trees of paths whose listings are kept, and gives those for which the server is worth asking: a NAR that
    /// is here is as quickly looked through.
    pub(crate) fn unlisted<'a>(&self, infos: &'a [NarInfo]) -> Vec<&'a NarInfo> {
        let mut rest = Vec::new();
        for info in infos {
            match self.kept_listing(info) {
                Some(tree) => self.listings.put(&info.path, tree),
                None if self.nar_file(info).exists() => {}
                None => rest.push(info),
            }
        }
        rest
    }

    /// Has the trees of paths that the server has listings of.
    pub(crate) fn list(&self, rest: &[&NarInfo]) {
        let step = rest.len().div_ceil(PROBES).max(1);
        let fetch = |info: &&NarInfo| {
            let tree = self.fetched_listing(info);
            let found = tree.is_some();
            if let Some(tree) = tree {
                self.listings.put(&info.path, tree);
            }
            Ok::<_, Infallible>(found)
        };
        let probes: Vec<&NarInfo> = rest.iter().copied().step_by(step).collect();
        let any = workers::try_map(&probes, CONNECTIONS, fetch).unwrap_or_default().contains(&true);
        if any {
            let others = rest.iter().enumerate().filter(|(at, _)| at % step != 0);
            let others: Vec<&NarInfo> = others.map(|(_, info)| *info).collect();
            drop(workers::try_map(&others, CONNECTIONS, fetch));
        }
    }
}

/// Reads all of a file; `None` when it is longer than that.
fn read_bounded(file: impl Read, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok((ints::to_u64(bytes.len()) <= most).then_some(bytes))
}
