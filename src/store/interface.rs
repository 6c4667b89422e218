//! The questions that every store answers.

use super::error::Error;
use crate::format::nix::database as nix_db;
use crate::format::nix::store_path::StorePath;
use crate::tree::Node;
use std::io::BufRead;

/// What a store knows of a path without its contents.
pub type PathInfo = nix_db::Row;

/// A place that has store paths.
pub trait Store: Send + Sync {
    /// Names the store in messages: its path or URL.
    fn name(&self) -> String;

    /// What is known of a path, or `None` when the store does not have it.
    fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, Error>;

    /// What is known of several paths, in their order: at once, where asking takes time.
    fn path_infos(&self, paths: &[StorePath]) -> Result<Vec<Option<PathInfo>>, Error> {
        paths.iter().map(|path| self.path_info(path)).collect()
    }

    /// Begins to fetch NARs that will be opened, where they are far away.
    fn prefetch(&self, _paths: &[StorePath]) -> Result<(), Error> {
        Ok(())
    }

    /// The NAR of a path that `path_info` gave. Its length and hash are not checked here.
    fn open_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, Error>;

    /// The tree of a path with the length of each file, where the store knows it without reading contents.
    fn listing(&self, path: &StorePath) -> Result<Option<Node<()>>, Error>;

    /// Whether contents have to be decoded, which is worth more than one thread.
    fn is_packed(&self) -> bool;

    /// The NAR of a path for a look at its tree. What is checked when its contents move need not be checked here.
    fn peek_nar(&self, path: &StorePath) -> Result<Box<dyn BufRead + Send>, Error> {
        self.open_nar(path)
    }

    /// Learns that contents that have moved had the hash and the tree of this listing, where a listing can be written.
    fn confirm(&self, _path: &StorePath, _listing: &dyn Fn() -> Option<String>) {}

    /// Learns that what it gave of a path is wrong, so that it gives it no second time.
    fn refute(&self, _path: &StorePath) -> Result<(), Error> {
        Ok(())
    }

    /// Every path that the store has, in order.
    fn names(&self) -> Result<Vec<StorePath>, Error>;
}
