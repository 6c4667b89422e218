//! Stores: which ones are asked, and who is believed.

use super::network;
use super::transfers::Fetching;
use crate::cli::exit::{Code, Failure};
use crate::cli::file::nix_conf;
use crate::cli::show::failures::refused;
use crate::cli::show::terminal::Voice;
use crate::store;
use crate::store::{Keys, Remote, Store};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where closures are, for commands that compose nothing new.
#[derive(clap::Args)]
pub struct Stores {
    /// Where store paths are: https://CACHE, file://CACHE, a store directory,
    /// a registration file; several are asked in order [default: this
    /// machine's]
    #[arg(long, value_name = "STORE")]
    store: Vec<String>,
    /// Trust what this key has signed, NAME:BASE64; beside those of
    /// cache.nixos.org and of nix.conf
    #[arg(long, value_name = "KEY")]
    trusted_key: Vec<String>,
    /// Trust every http(s) store, signed or not
    #[arg(long)]
    no_check_sigs: bool,
    #[command(flatten)]
    fetching: Fetching,
    /// The directory that a registration given with --store describes
    #[arg(long, value_name = "DIR")]
    store_dir: Option<PathBuf>,
}

impl Stores {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// Opens them; `other` is the one to take when none is named.
    pub fn open(&self, other: Option<&str>, voice: &Voice) -> Result<Vec<Box<dyn Store>>, Failure> {
        self.open_with(other, &self.remote(voice)?)
    }

    /// How those that are far away are used.
    pub fn remote(&self, voice: &Voice) -> Result<Remote, Failure> {
        remote((&self.store, &self.trusted_key), self.no_check_sigs, &self.fetching, voice)
    }

    /// Opens them, used so.
    pub fn open_with(&self, other: Option<&str>, remote: &Remote) -> Result<Vec<Box<dyn Store>>, Failure> {
        let mut specs = self.store.clone();
        if specs.is_empty() {
            specs.push(other.unwrap_or("auto").to_owned());
        }
        let stores = specs.iter().map(|spec| store::open(spec, self.store_dir.as_deref(), remote));
        stores.collect::<Result<_, _>>().map_err(|error| refused(&error.into()))
    }
}

/// How stores that are far away are used.
pub fn remote(
    (stores, keys): (&[String], &[String]),
    no_check_sigs: bool,
    fetching: &Fetching,
    voice: &Voice,
) -> Result<Remote, Failure> {
    let keys = self::keys(keys)?;
    let elsewhere = |spec: &String| crate::source::is_address(spec) || spec.starts_with("ssh-ng://");
    let is_remote = stores.iter().any(elsewhere);
    if no_check_sigs && is_remote {
        voice.always("warning: signatures are not checked: whoever runs the store, or the network to it, decides what runs on this card");
    }
    // Nothing is half-written while planning, so a signal may end the program at once: nobody sets this.
    let stop = Arc::new(AtomicBool::new(false));
    let kept = crate::cli::file::kept::kept();
    Ok(Remote {
        client: network::client(&stop, fetching.logins()?),
        most: fetching.most(&kept),
        kept,
        keys: (!no_check_sigs).then_some(keys),
        fetched: Arc::default(),
        ssh: Arc::new(crate::cli::run::ssh::Program::new()),
    })
}

/// Keys that count: of cache.nixos.org, of this machine's Nix, and those given.
pub fn keys(given: &[String]) -> Result<Keys, Failure> {
    let mut keys = Keys::nixos();
    for key in conf_keys().iter().chain(given) {
        keys.add(key).map_err(|error| Failure::of(Code::Usage, &error))?;
    }
    Ok(keys)
}

/// The keys that this machine's Nix trusts.
fn conf_keys() -> Vec<String> {
    let keys = nix_conf::values(&["trusted-public-keys", "extra-trusted-public-keys"]);
    keys.iter().flat_map(|keys| keys.split_whitespace()).map(str::to_owned).collect()
}

/// Stores as a card may name them: addresses without user, password and query; what is on this machine without a path.
pub fn recorded(specs: &[String]) -> Vec<String> {
    let name = |spec: &String| {
        let Some((scheme, rest)) = spec.split_once("://").filter(|(scheme, _)| *scheme != "file") else {
            return "local".to_owned();
        };
        let address = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        let host = authority.rsplit('@').next().unwrap_or_default();
        if host.is_empty() { "local".to_owned() } else { format!("{scheme}://{host}/{path}") }
    };
    specs.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_stores_name_neither_users_nor_passwords_nor_paths_of_this_machine() {
        let specs = [
            "https://user:word@cache.example/x?token=word#word",
            "https://cache.example",
            "ssh-ng://root@builder:22?ssh-key=/word",
            "file:///media/word",
            "./word",
            "auto",
            "unix:///run/word",
        ];
        let expected = [
            "https://cache.example/x",
            "https://cache.example/",
            "ssh-ng://builder:22/",
            "local",
            "local",
            "local",
            "local",
        ];
        assert_eq!(recorded(&specs.map(str::to_owned)), expected);
    }
}
