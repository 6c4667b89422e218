//! The configuration at the place where `nixos-rebuild` on the card looks for it.

use super::files::Files;
use crate::compose::closure::Forest;
use crate::compose::content::Content;
use crate::compose::error::Error;
use crate::compose::literals::Literals;
use crate::compose::request::configuration::{Access, Configuration, Entry, Placed, Refused};
use crate::compose::system::toplevel::Toplevel;
use crate::format::nix::nar;
use crate::tree::Node;
use sha2::{Digest, Sha256};

/// Where a configuration is kept that cannot be in `/etc`.
const APART: &str = "/nix/var/nixflash/nixos";

/// Where the root of the running system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunningRoot {
    /// On the card.
    OnCard,
    /// In memory: of the card it only has `/nix`.
    InMemory,
}

/// The directory that a configuration goes to; refused where the system puts something there itself.
pub(crate) fn directory(
    toplevel: &Toplevel,
    running: RunningRoot,
    forest: &Forest,
) -> Result<&'static str, Error> {
    if forest.resolve(&format!("{}/etc/nixos", toplevel.path)).is_some() {
        return Err(Refused::Managed(toplevel.path.to_string()).into());
    }
    match running {
        RunningRoot::OnCard => in_etc(toplevel, forest),
        RunningRoot::InMemory => Ok(APART),
    }
}

/// Where the running system has its configuration. With `system.etc.overlay` what the root has in `/etc` is hidden by
/// an overlay: its upper layer is elsewhere on the root, or there is none and `/etc` cannot be written.
fn in_etc(toplevel: &Toplevel, forest: &Forest) -> Result<&'static str, Error> {
    let overlay = ["etc-metadata-image", "etc-basedir"]
        .iter()
        .any(|name| forest.resolve(&format!("{}/{name}", toplevel.path)).is_some());
    if !overlay {
        return Ok("/etc/nixos");
    }
    let activate = forest.read(&format!("{}/activate", toplevel.path))?.unwrap_or_default();
    let says = |words: &[u8]| activate.windows(words.len()).any(|window| window == words);
    // The script mounts the overlay again after a switch, with the upper layer if there is one.
    let immutable = says(b"redirect_dir=on") && !says(b"upperdir=/.rw-etc/upper");
    Ok(if immutable { APART } else { "/.rw-etc/upper/nixos" })
}

/// Puts a configuration into a directory of the root, and says what was put there.
pub(crate) fn place(
    configuration: &Configuration,
    base: &'static str,
    files: &mut Files,
    literals: &mut Literals,
) -> Result<Placed, Error> {
    let (directory, mask) = match configuration.access {
        Access::Everyone => (0o755, 0o755),
        Access::Root => (0o700, 0o700),
    };
    files.directory_with(base, directory, 0)?;
    for (path, entry) in configuration.entries() {
        for (at, _) in path.match_indices('/') {
            files.directory_with(&format!("{base}/{}", &path[..at]), directory, 0)?;
        }
        let path = format!("{base}/{path}");
        match entry {
            Entry::Symlink(target) => files.symlink(&path, target)?,
            Entry::File { executable, bytes } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                files.literal_with(&path, bytes, mode & mask, literals)?;
            }
        }
    }
    // cannot fail: the directory was just made
    let tree = files.get(base).expect("the directory is there");
    Ok(Placed {
        path: base,
        nar_hash: hash(tree, literals),
        files: configuration.len(),
        bytes: configuration.bytes,
        list: configuration.list(),
        revision: configuration.revision.clone(),
        access: configuration.access,
    })
}

/// The NAR hash of a tree of literals.
fn hash(tree: &Node<Content>, literals: &Literals) -> [u8; 32] {
    let (mut hasher, mut out) = (Sha256::new(), Vec::new());
    let mut contents = |content: &Content, out: &mut Vec<u8>| {
        // Never empty when the next node begins: the end of this file is written first.
        hasher.update(&*out);
        out.clear();
        if let Content::Literal(index) = content {
            hasher.update(literals.get(*index));
        }
    };
    nar::write(tree, &mut contents, &mut out);
    hasher.update(&out);
    hasher.finalize().into()
}
