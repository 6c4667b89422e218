//! Where firmware packages are.

use crate::format::nix::store_path::StorePath;
use std::path::PathBuf;

/// Where firmware may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A directory: a package, or the root of a store.
    Directory(PathBuf),
    /// A store path, which the stores have.
    Path(StorePath),
}
