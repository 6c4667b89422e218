//! A project file that may be a stranger's: what is taken from one that nobody named.

use crate::cli::exit::{Code, Failure};
use std::path::Path;

/// How a project file was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// By its name, or that of its directory.
    ByName(&'a Path),
    /// By nobody: the one of the working directory, if there is one.
    ByNobody,
}

/// A file that nobody named may come with a directory of strangers: it runs no program on the user's hosts, uses no key
/// of the user's, and has nothing believed without a signature.
pub(super) fn ensure_harmless(name: &str, store: &str) -> Result<(), Failure> {
    const SETTINGS: [&str; 4] = ["remote-program", "remote-store", "ssh-key", "trusted"];
    let query = store.split_once('?').map_or("", |(_, query)| query);
    let keys = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(key, _)| key));
    let Some(key) = keys.into_iter().find(|key| SETTINGS.contains(&key.to_ascii_lowercase().trim())) else {
        return Ok(());
    };
    let what = format!("{name}: stores: {store:?}: {key} is not taken from a file that was found by itself");
    Err(Failure::new(Code::Usage, what)
        .hint(format!("name the file: --project {name}; or give the store on the command line")))
}

/// Who wrote the file decides what runs on the card, so it has to be someone whom the user meant.
pub(super) fn ensure_owner(name: &str, owner: u32, asked: Asked<'_>) -> Result<(), Failure> {
    let known = [Some(0), Some(nix::unistd::geteuid().as_raw()), crate::cli::caller::sudo_uid()];
    let by_name = matches!(asked, Asked::ByName(_));
    if known.contains(&Some(owner)) || (by_name && crate::cli::caller::trusts_environment()) {
        return Ok(());
    }
    let failure = Failure::new(
        Code::Permission,
        format!("{name}: belongs to user {owner}, neither to you nor to root: it is not used"),
    );
    let hint = if by_name {
        "make it yours, or run without sudo".to_owned()
    } else {
        format!("to use it all the same, name it: --project {name}; to go without it: --no-project")
    };
    Err(failure.hint(hint))
}
