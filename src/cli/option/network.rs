//! How the network is reached: proxies and authorities of the environment, as curl and Nix take them.

use crate::cli::file::nix_conf;
use crate::net::{Authorities, BadProxy, Client, Netrc, Proxies, Settings};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where systems keep the authorities that they trust: Debian and NixOS, Fedora, Alpine, Nix elsewhere.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/nix/var/nix/profiles/default/etc/ssl/certs/ca-bundle.crt",
];

/// The longest file of authorities that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// A client that reaches the network as the user's other programs do. What is wrong with the environment is told by the
/// first request: most runs make none.
pub fn client(interrupted: &Arc<AtomicBool>, logins: Netrc) -> Client {
    let settings = || -> Result<Settings, String> {
        let (proxies, authorities) = (proxies()?, authorities()?);
        Ok(Settings { logins, proxies, authorities, ..Settings::default() })
    };
    match settings() {
        Ok(settings) => Client::new(interrupted, settings),
        Err(why) => Client::unusable(interrupted, why),
    }
}

/// The first of some variables that is there. Under sudo they are another's.
#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
fn variable(names: &[&'static str]) -> Option<(&'static str, String)> {
    let value = |name: &&'static str| Some((*name, std::env::var(*name).ok()?));
    names.iter().find_map(value).filter(|_| crate::cli::caller::trusts_environment())
}

/// The proxies; a variable that is there and empty means none.
fn proxies() -> Result<Proxies, String> {
    let all = ["all_proxy", "ALL_PROXY"];
    let of = |own: [&'static str; 2]| {
        variable(&[own[0], own[1], all[0], all[1]]).filter(|(_, value)| !value.trim().is_empty())
    };
    let wrong = |name: &str, error: BadProxy| format!("{name}: {error}");
    let mut proxies = Proxies::default();
    if let Some((name, value)) = of(["http_proxy", "HTTP_PROXY"]) {
        proxies = proxies.for_http(&value).map_err(|error| wrong(name, error))?;
    }
    if let Some((name, value)) = of(["https_proxy", "HTTPS_PROXY"]) {
        proxies = proxies.for_https(&value).map_err(|error| wrong(name, error))?;
    }
    let exceptions = variable(&["no_proxy", "NO_PROXY"]);
    Ok(proxies.except(&exceptions.map(|(_, value)| value).unwrap_or_default()))
}

/// Who vouches for servers: the file that was named, else the directories, else that of the system, else Mozilla's that
/// are built in.
fn authorities() -> Result<Authorities, String> {
    let named = variable(&["NIX_SSL_CERT_FILE", "SSL_CERT_FILE"])
        .map(|(name, value)| (name, PathBuf::from(value)))
        .filter(|(_, path)| path != Path::new(""))
        .or_else(|| Some(("ssl-cert-file", nix_conf::values(&["ssl-cert-file"]).pop()?.into())));
    let directories = variable(&["SSL_CERT_DIR"]).filter(|(_, value)| !value.is_empty());
    if let Some((name, path)) = named {
        return read(&path).map_err(|what| format!("{name}: {}: {what}", path.display()));
    }
    if let Some((name, value)) = directories {
        return read_all(&value).map_err(|what| format!("{name}: {what}"));
    }
    // A system's own file that cannot be read or used is as good as none.
    let found = BUNDLES.iter().find_map(|path| read(Path::new(path)).ok());
    Ok(found.unwrap_or_default())
}

/// The certificates of all files in directories, which colons separate. They are named by hashes of theirs, by which OpenSSL
/// finds one; here all are taken, and what is no certificate is passed over.
fn read_all(directories: &str) -> Result<Authorities, String> {
    let mut pem = Vec::new();
    for directory in directories.split(':').filter(|directory| !directory.is_empty()) {
        let files = std::fs::read_dir(directory).map_err(|error| format!("{directory}: {error}"))?;
        for file in files.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_file()) {
            let left = LONGEST.saturating_sub(crate::ints::to_u64(pem.len()));
            let mut text = Vec::new();
            let read = std::fs::File::open(file).and_then(|file| file.take(left).read_to_end(&mut text));
            if read.is_ok() && Authorities::parse(&text).is_ok() {
                pem.extend_from_slice(&text);
                pem.push(b'\n');
            }
        }
    }
    Authorities::parse(&pem).map_err(|error| format!("{directories}: {error}"))
}

fn read(path: &Path) -> Result<Authorities, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut pem = Vec::new();
    file.take(LONGEST).read_to_end(&mut pem).map_err(|error| error.to_string())?;
    Authorities::parse(&pem).map_err(|error| error.to_string())
}
