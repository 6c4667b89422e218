//! Where the toplevel and the stores are, out of what was typed.

use super::exit::{Code, Failure};
use crate::format::store_path::{STORE_DIR, StorePath};
use std::path::Path;

/// A toplevel, and the store it was found in when the words named one by the way.
pub struct System {
    /// The toplevel.
    pub path: StorePath,
    /// The root of a store other than the machine's own: `DIR` of `DIR/nix/store/...`.
    pub store: Option<String>,
}

/// Takes a store path, a link to one such as `./result`, or a path into a store elsewhere on the machine.
pub fn find(words: &str) -> Result<System, Failure> {
    if words.starts_with(&format!("{STORE_DIR}/")) {
        let (path, rest) =
            StorePath::split(words.trim_end_matches('/')).map_err(|e| Failure::of(Code::Usage, &e))?;
        if !rest.is_empty() {
            return Err(Failure::new(
                Code::Usage,
                format!("--system {words}: expected {path}, without {rest}"),
            ));
        }
        return Ok(System { path, store: None });
    }
    let target = follow(words)?;
    let Some(at) = target.find(&format!("{STORE_DIR}/")) else {
        return Err(Failure::new(
            Code::Usage,
            format!("--system {words}: leads to {target}, which is not in {STORE_DIR}"),
        ));
    };
    let (path, rest) = StorePath::split(&target[at..]).map_err(|e| Failure::of(Code::Usage, &e))?;
    if !rest.is_empty() {
        return Err(Failure::new(
            Code::Usage,
            format!("--system {words}: leads into {path}, to {rest}; expected the toplevel itself"),
        ));
    }
    Ok(System { path, store: (at > 0).then(|| target[..at].to_owned()) })
}

/// Follows links until one leads to the store or nothing is left to follow; the store itself need not be here.
fn follow(words: &str) -> Result<String, Failure> {
    let link = Path::new(words);
    if let Ok(target) = std::fs::read_link(link) {
        let target = target.to_string_lossy().into_owned();
        if target.starts_with(STORE_DIR) {
            return Ok(target);
        }
    }
    match link.canonicalize() {
        Ok(path) => Ok(path.to_string_lossy().into_owned()),
        Err(error) => Err(Failure::reading(&format!("--system {words}"), &error)
            .hint("give a store path (/nix/store/...-nixos-system-...) or a link to one, such as ./result")),
    }
}
