//! Where the toplevel and the stores are, out of what was typed.

use crate::cli::exit::{Code, Failure};
use crate::cli::run::nix;
use crate::cli::run::nix::How;
use crate::cli::show::terminal::Voice;
use crate::compose;
use crate::format::nix::store_path::{STORE_DIR, StorePath};
use crate::store;
use std::path::{Path, PathBuf};

/// A toplevel, and the store it was found in when the words named one by the way.
pub struct System {
    /// The toplevel.
    pub path: StorePath,
    /// The root of a store other than the machine's own: `DIR` of `DIR/nix/store/...`.
    pub store: Option<String>,
    /// What of this machine's is read to find it.
    pub reads: PathBuf,
    /// Whether its path comes from an evaluation, so that it need not have been built.
    pub evaluated: bool,
}

/// Takes a store path, a link to one such as `./result`, a path into a store elsewhere on the machine, or a flake with
/// a host. What is relative starts from a directory.
pub fn find(words: &str, directory: &Path, how: How, voice: &Voice) -> Result<System, Failure> {
    let link = directory.join(words);
    let (target, reads) = if words.starts_with(&format!("{STORE_DIR}/")) && !words.contains('#') {
        (words.trim_end_matches('/').to_owned(), PathBuf::from(words))
    } else if link.symlink_metadata().is_err() && nix::is_flake(words) {
        let path = nix::resolve(words, directory, how, voice)?;
        let reads = PathBuf::from(path.to_string());
        return Ok(System { path, store: None, reads, evaluated: how == How::Evaluate });
    } else {
        (follow(words, &link)?, link)
    };
    let Some(at) = target.find(&format!("{STORE_DIR}/")) else {
        return Err(outside(words, &target));
    };
    let (path, rest) = StorePath::split(&target[at..]).map_err(|e| Failure::of(Code::Usage, &e))?;
    if !rest.is_empty() {
        return Err(Failure::new(Code::Usage, format!("--system {words}: expected {path}, without {rest}")));
    }
    Ok(System { path, store: (at > 0).then(|| target[..at].to_owned()), reads, evaluated: false })
}

fn outside(words: &str, target: &str) -> Failure {
    let failure = Failure::new(
        Code::Usage,
        format!("--system {words}: leads to {target}, which is not in {STORE_DIR}"),
    );
    if Path::new(target).join("flake.nix").is_file() {
        return failure.hint(format!("it is a flake; name the host: {words}#HOST"));
    }
    failure
}

/// Follows links until one leads to the store or nothing is left to follow; the store itself need not be here.
fn follow(words: &str, link: &Path) -> Result<String, Failure> {
    if let Ok(target) = std::fs::read_link(link) {
        let target = target.to_string_lossy().into_owned();
        if target.starts_with(STORE_DIR) {
            return Ok(target);
        }
    }
    match link.canonicalize() {
        Ok(path) => Ok(path.to_string_lossy().into_owned()),
        Err(error) => Err(Failure::reading(&format!("--system {words}"), &error).hint(
            "give a store path (/nix/store/...-nixos-system-...), a link to one such as ./result, or a flake \
             with its host such as .#pi",
        )),
    }
}

/// The failure that a toplevel is in no store, when nobody has built it either.
pub fn unbuilt(system: &System, error: &compose::Error) -> Option<Failure> {
    let compose::Error::Store(store::Error::Missing { path, .. }) = error else { return None };
    (system.evaluated && *path == system.path.to_string()).then(|| {
        Failure::of(Code::Source, error).hint(
            "the flake was only evaluated: push its toplevel to one of these stores, or add --store auto, and nix \
             builds it here",
        )
    })
}
