//! UDisks2 opens a disk for a user who may not do it alone: the desktop's rules decide, and ask where they want to.
//!
//! Interface: udisks2's D-Bus reference, `Manager.ResolveDevice` and `Block.OpenDevice` (2.7.3 and later).

use nix::fcntl::OFlag;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use zbus::{Connection, OwnedObjectPath, Variant};

const SERVICE: &str = "org.freedesktop.UDisks2";
const MANAGER: &str = "/org/freedesktop/UDisks2/Manager";

/// Opens a disk, exclusively if it is to be written, past the cache. The error is in the words of the service.
pub(crate) fn open(path: &Path, write: bool) -> Result<File, String> {
    zbus::block_on(ask(path, write)).map_err(|error| error.to_string())
}

async fn ask(path: &Path, write: bool) -> zbus::Result<File> {
    let connection = Connection::system().await?;
    let none = BTreeMap::<&str, Variant<'_>>::new();
    let path = path.to_string_lossy().into_owned();
    let wanted = BTreeMap::from([("path", Variant::from(path.as_str()))]);
    let interface = format!("{SERVICE}.Manager");
    let reply = connection
        .call_method(Some(SERVICE), MANAGER, Some(interface.as_str()), "ResolveDevice", &(wanted, none))
        .await?;
    let found: Vec<OwnedObjectPath> = reply.body().deserialize()?;
    let object =
        found.into_iter().next().ok_or_else(|| zbus::Error::Failure(format!("{path} is not known")))?;
    let exclusive = if write { OFlag::O_EXCL } else { OFlag::empty() };
    let flags = (exclusive | OFlag::O_DIRECT | OFlag::O_CLOEXEC).bits();
    let options = BTreeMap::from([("flags", Variant::from(flags))]);
    let interface = format!("{SERVICE}.Block");
    let mode = if write { "rw" } else { "r" };
    let reply = connection
        .call_method(Some(SERVICE), &object, Some(interface.as_str()), "OpenDevice", &(mode, options))
        .await?;
    let fd: zbus::OwnedFd = reply.body().deserialize()?;
    Ok(File::from(OwnedFd::from(fd)))
}
