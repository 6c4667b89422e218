//! An address becomes a store.

use super::archive::cache_dir;
use super::archive::export;
use super::daemon;
use super::error::Error;
use super::interface::Store;
use super::local::directory;
use super::remote::http;
use super::remote::progress::Remote;
use std::io::Read;
use std::path::Path;

/// Opens a store by what the user named: `auto` (this machine's), `daemon`, `unix://SOCKET`, `ssh-ng://HOST`,
/// `http(s)://...`, `file://DIR`, `export:FILE`, a directory, or a file that lists paths. `paths` is the directory that
/// such a file describes.
pub fn open(spec: &str, paths: Option<&Path>, remote: &Remote) -> Result<Box<dyn Store>, Error> {
    if spec.starts_with("http://") || spec.starts_with("https://") {
        return Ok(Box::new(http::Http::open(spec, remote)?));
    }
    if let Some(directory) = spec.strip_prefix("file://") {
        // What Nix takes behind a question mark (`priority`, `trusted`, `want-mass-query`) is no part of the name.
        let directory = directory.split_once('?').map_or(directory, |(directory, _)| directory);
        return Ok(Box::new(cache_dir::Cache::open(Path::new(directory))?));
    }
    if let Some(address) = spec.strip_prefix("ssh-ng://") {
        return Ok(Box::new(daemon::Daemon::of_ssh(spec, address, remote)?));
    }
    if let Some(socket) = spec.strip_prefix("unix://") {
        return Ok(Box::new(daemon::Daemon::of_socket(Path::new(socket), remote)));
    }
    if spec == "daemon" {
        return Ok(Box::new(directory::Directory::of_daemon(Path::new("/"), remote)?));
    }
    if let Some(place) = spec.strip_prefix("export:") {
        return Ok(Box::new(export::Export::open(place, &remote.kept)?));
    }
    if let Some(host) = spec.strip_prefix("ssh://") {
        let message = format!("ssh:// is the protocol of old Nix; use ssh-ng://{host}");
        return Err(Error::NoStore { place: spec.to_owned(), message });
    }
    if let Some((scheme, _)) = spec.split_once("://") {
        let message = format!(
            "stores of the kind {scheme}:// are not supported; use https://..., ssh-ng://HOST, file://DIR, unix://SOCKET, export:FILE or a directory"
        );
        return Err(Error::NoStore { place: spec.to_owned(), message });
    }
    let place = if spec == "auto" { Path::new("/") } else { Path::new(spec) };
    let kind = std::fs::metadata(place).map_err(|source| Error::io(place, source))?;
    if kind.is_file() {
        if is_export(place)? {
            return Ok(Box::new(export::Export::open(spec, &remote.kept)?));
        }
        return Ok(Box::new(directory::Directory::of_file(place, paths)?));
    }
    if place.join("nix-cache-info").is_file() {
        return Ok(Box::new(cache_dir::Cache::open(place)?));
    }
    Ok(Box::new(directory::Directory::open(place, paths, remote)?))
}

/// Whether a file begins as an export does: with the number 1.
pub(super) fn is_export(file: &Path) -> Result<bool, Error> {
    let mut start = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(8).read_to_end(&mut start));
    read.map_err(|source| Error::io(file, source))?;
    Ok(start == 1u64.to_le_bytes())
}
