//! Disks and files are opened; what cannot be is told with what helps.

use super::disks;
use super::target::{Consent, Target};
use crate::cli::exit::{Code, Failure};
use crate::cli::show::terminal::Voice;
use crate::device::disk::Disk;
use crate::device::{
    Access, Named, OpenError, Roots, open_disk, open_disk_unless, open_file, open_to_read, resolve, unmount,
};
use crate::escape::shell_word;
use crate::format::disk::partition_table::SectorSize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Opens a target to write.
pub fn open_to_write(
    target: &Target,
    consent: &Consent,
    stop: &AtomicBool,
    voice: &Voice,
) -> Result<Box<dyn Disk>, Failure> {
    match target {
        Target::File(path, existing) => {
            Ok(Box::new(open_file(path, *existing).map_err(|error| unopened(&error))?))
        }
        Target::Disk(device) => {
            let mut confirmed = device.clone();
            if consent.unmount && device.mounts().next().is_some() {
                let done = unmount(device).map_err(|error| {
                    let denied = error.source.kind() == std::io::ErrorKind::PermissionDenied;
                    let failure = Failure::of(if denied { Code::Permission } else { Code::Refused }, &error);
                    if denied { failure.hint(sudo()) } else { failure.hint("close what uses it") }
                })?;
                for at in done {
                    voice.say(&format!("unmounted {}", at.display()));
                }
                confirmed.uses.retain(|user| !matches!(user, crate::device::Use::Mount { .. }));
            }
            let disk = open_disk_unless(&Roots::system(), &confirmed, Access::Write, &|| {
                stop.load(Ordering::Relaxed)
            });
            let disk = disk.map_err(|error| match stop.load(Ordering::Relaxed) {
                true => Failure::new(Code::Interrupted, "interrupted; nothing was written"),
                false => unopened(&error),
            })?;
            Ok(Box::new(disk))
        }
    }
}

/// Opens what is to be compared, and its sector size.
pub fn open_target(path: &Path, voice: &Voice) -> Result<(Box<dyn Disk>, SectorSize), Failure> {
    let listing = disks::listing()?;
    let shown = path.display();
    let named = resolve(&listing, path).map_err(|error| Failure::reading(&shown.to_string(), &error))?;
    match named {
        Named::Disk(device) => {
            if device.mounts().next().is_some() {
                voice.say(&format!(
                    "warning: {shown} is mounted; what the system writes to it shows as a difference"
                ));
            }
            let disk =
                open_disk(&Roots::system(), &device, Access::Read).map_err(|error| unopened(&error))?;
            let sector = if device.sector == 4096 { SectorSize::S4096 } else { SectorSize::S512 };
            Ok((Box::new(disk), sector))
        }
        Named::File { .. } => {
            let file = open_to_read(path).map_err(|error| unopened(&error))?;
            Ok((Box::new(file), SectorSize::S512))
        }
        Named::Absent => Err(Failure::new(Code::Other, format!("{shown} does not exist"))
            .hint("name a disk, as in `nixflash devices`, or a file")),
        Named::Partition { disk } => {
            Err(Failure::new(Code::Refused, format!("{shown} is a partition, expected the whole disk"))
                .hint(format!("give {}", disk.display())))
        }
        Named::Volume => Err(Failure::new(
            Code::Refused,
            format!("{shown} is a volume on other disks, expected a disk or a file"),
        )),
        Named::Other(kind) => {
            Err(Failure::new(Code::Refused, format!("{shown} is {kind}, expected a disk or a file")))
        }
    }
}

/// A target that cannot be opened, with its code and a hint.
pub fn unopened(error: &OpenError) -> Failure {
    match error {
        OpenError::Permission { .. } => Failure::of(Code::Permission, error).hint(sudo()),
        OpenError::Exists(_) => Failure::of(Code::Refused, error),
        OpenError::Io { .. } => Failure::of(Code::Target, error),
        _ => Failure::of(Code::Refused, error),
    }
}

/// The same command as root.
fn sudo() -> String {
    let program =
        std::env::current_exe().map_or_else(|_| "nixflash".to_owned(), |path| path.display().to_string());
    let words = std::env::args().skip(1).map(|word| shell_word(&word));
    let command: Vec<String> = ["sudo".to_owned(), shell_word(&program)].into_iter().chain(words).collect();
    format!("{}\n      or let this user write removable disks: see udev/README.md", command.join(" "))
}
