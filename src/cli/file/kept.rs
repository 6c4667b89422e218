//! Where what was fetched is kept, and how much of it.

use crate::cli::caller::trusts_environment;

/// Where what was fetched is kept: the user's cache directory, or the system's where the environment is another's.
#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
pub(crate) fn kept() -> std::path::PathBuf {
    let absolute = |name: &str| {
        let path = std::env::var_os(name).map(std::path::PathBuf::from);
        path.filter(|path| path.is_absolute() && trusts_environment())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    cache.unwrap_or_else(|| "/var/cache".into()).join("nixflash")
}

/// How much of what was fetched is kept unless told otherwise: 20 GiB, or a tenth of the disk if that is less.
pub(crate) fn cache_size(kept: &std::path::Path) -> u64 {
    const MOST: u64 = 20 << 30;
    let there = kept.ancestors().find(|path| path.is_dir());
    let disk = there.and_then(|path| nix::sys::statvfs::statvfs(path).ok());
    disk.map_or(MOST, |disk| MOST.min(disk.blocks().saturating_mul(disk.fragment_size()) / 10))
}
