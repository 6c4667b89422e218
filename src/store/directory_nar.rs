//! Directories of this machine as NARs, whether or not they are store paths.

use super::error::Error;
use super::local::directory;
use crate::tree::Node;
use std::io;
use std::io::BufRead;
use std::path::Path;

/// The tree of a directory outside any store.
pub fn directory_listing(path: &Path) -> Result<Node<()>, Error> {
    directory::listing(path)
}

/// The NAR of a directory outside any store.
pub fn open_directory_nar(path: &Path) -> Result<Box<dyn BufRead + Send>, Error> {
    Ok(Box::new(directory::open_nar(path)?))
}

/// Hash and length of the NAR of a directory outside any store.
pub fn hash_directory(path: &Path) -> Result<([u8; 32], u64), Error> {
    let mut reader = crate::stream::hash::Hashing::new(directory::open_nar(path)?, u64::MAX - 1);
    let size = io::copy(&mut reader, &mut io::sink()).map_err(|source| Error::io(path, source))?;
    Ok((reader.digest(), size))
}
