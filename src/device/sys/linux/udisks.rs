//! UDisks2 opens a disk for a user who may not do it alone: the desktop's rules decide, and ask where they want to.
//!
//! Interface: udisks2's D-Bus reference, `Manager.ResolveDevice` and `Block.OpenDevice` (2.7.3 and later).

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};
use zbus::{Connection, OwnedObjectPath, Variant};

/// How long a user may take to answer the desktop's question.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);

const SERVICE: &str = "org.freedesktop.UDisks2";
const MANAGER: &str = "/org/freedesktop/UDisks2/Manager";

/// Opens a disk, exclusively if it is to be written, past the cache. The error is in the words of the service.
///
/// The desktop may ask its user, so an answer is waited for up to a minute; what comes later is not taken. The bus is
/// asked on a thread of its own, which ends with the program, so that a signal ends the wait: `is_stopped` says so.
pub(crate) fn open(path: &Path, write: bool, is_stopped: &dyn Fn() -> bool) -> Result<(File, bool), String> {
    let (sender, answer) = std::sync::mpsc::channel();
    let path = path.to_owned();
    std::thread::spawn(move || {
        let opened = zbus::block_on(ask(&path, write)).map_err(|error| error.to_string());
        // Whoever has stopped waiting wants none.
        drop(sender.send(opened));
    });
    let begun = Instant::now();
    let file = loop {
        match answer.recv_timeout(TICK) {
            Ok(opened) => break opened?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err("UDisks2 was asked, and the question failed".to_owned());
            }
            Err(RecvTimeoutError::Timeout) if is_stopped() => return Err("interrupted".to_owned()),
            Err(RecvTimeoutError::Timeout) if begun.elapsed() > PATIENCE => {
                return Err(format!("UDisks2 has not answered for {} s", PATIENCE.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    checked(file, write)
}

/// The descriptor must be what was asked for: to be read, past the cache. Whether it is past the cache is given.
fn checked(file: File, write: bool) -> Result<(File, bool), String> {
    let flags =
        fcntl(&file, FcntlArg::F_GETFL).map_err(|errno| format!("its descriptor says nothing: {errno}"))?;
    let flags = OFlag::from_bits_retain(flags);
    if write && flags & OFlag::O_ACCMODE != OFlag::O_RDWR {
        return Err("UDisks2 gave a descriptor that cannot be written to".to_owned());
    }
    Ok((file, flags.contains(OFlag::O_DIRECT)))
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
