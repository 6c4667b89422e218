//! What was fetched from caches over http and is kept on this machine.

use super::Error;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file that is kept.
struct File {
    used: SystemTime,
    len: u64,
    path: PathBuf,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// NARs.
    pub nars: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Narinfos.
    pub narinfos: u64,
}

/// The regular files of a directory; none where it does not exist.
fn files(directory: &Path) -> Result<Vec<File>, Error> {
    let failed = |source| Error::io(directory, source);
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // Another run may have taken it away in the meantime.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            let used = metadata.accessed().or_else(|_| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            files.push(File { used, len: metadata.len(), path: entry.path() });
        }
    }
    Ok(files)
}

/// Counts what is kept.
pub fn usage(kept: &Path) -> Result<Usage, Error> {
    let nars = files(&kept.join("nar"))?;
    let mut narinfos = 0;
    let servers = std::fs::read_dir(kept.join("narinfo")).into_iter().flatten().flatten();
    for server in servers {
        narinfos += crate::num::to_u64(files(&server.path())?.len());
    }
    Ok(Usage {
        nars: crate::num::to_u64(nars.len()),
        bytes: nars.iter().map(|file| file.len).sum(),
        narinfos,
    })
}

/// Removes NARs, those first that were used longest ago, until at most `most` bytes are left.
pub fn prune(kept: &Path, most: u64) -> Result<Usage, Error> {
    let mut nars = files(&kept.join("nar"))?;
    nars.sort_by_key(|file| file.used);
    let mut bytes: u64 = nars.iter().map(|file| file.len).sum();
    for file in nars {
        if bytes <= most {
            break;
        }
        match std::fs::remove_file(&file.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&file.path, error));
            }
            _ => bytes -= file.len,
        }
    }
    usage(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let kept = tempfile::tempdir().unwrap();
        assert_eq!(usage(kept.path()).unwrap(), Usage::default());
        let nars = kept.path().join("nar");
        std::fs::create_dir_all(&nars).unwrap();
        for (name, age) in [("old", 300), ("older", 400), ("new", 10)] {
            let file = std::fs::File::create(nars.join(name)).unwrap();
            file.set_len(1000).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age);
            file.set_times(std::fs::FileTimes::new().set_accessed(time).set_modified(time)).unwrap();
        }
        assert_eq!(prune(kept.path(), 2500).unwrap().nars, 2);
        assert!(!nars.join("older").exists());
        assert_eq!(prune(kept.path(), 0).unwrap(), Usage::default());
    }
}
