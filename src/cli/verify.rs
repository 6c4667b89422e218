//! `nixflash verify`: whether a card holds an image, or what it says of itself.

use super::cards::{self, Shown};
use super::exit::{Code, Failure};
use super::sources::{self, Sidecars};
use super::ui::{self, Voice};
use super::write::{differences, located};
use super::{Outcome, devices, inspect, output, targets};
use crate::device::disk::Disk;
use crate::device::{Access, Meter, Named, Reader, Roots, open_disk, open_to_read, resolve};
use crate::format::partition_table::SectorSize;
use crate::image::{CopyError, Progress, SourceError, open};
use crate::num::show_bytes;
use crate::stream::ReadAt;
use crate::verify::content::{self, Content, Verdict};
use crate::verify::{self, Comparison, Error, compare};
use serde_json::json;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Compare a card with the image it should hold, or with what it says of itself.
///
/// With --image, byte for byte. Without, every store path on it is hashed and
/// compared with the card's own database and manifest; what a running system
/// changes (new store paths, generations, its journal) is told apart.
#[derive(clap::Args)]
pub struct Options {
    /// The disk, such as /dev/sdX, or a file
    device: PathBuf,
    /// The image: a file, - or an http(s) address, raw or packed
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    #[command(flatten)]
    sidecars: Sidecars,
    /// Threads that unpack [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(options: &Options, voice: &Voice) -> Outcome {
    let Some(image) = &options.image else { return content(options, voice) };
    let (disk, sector) = open_target(&options.device, voice)?;
    let stop = Arc::new(AtomicBool::new(false));
    ui::interrupt_into(&stop)?;
    let threads = options
        .threads
        .map_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get), usize::from);
    let mut opened = sources::open(image, &options.sidecars, threads, &stop)?;
    let (meter, done) = (Meter::default(), AtomicBool::new(false));
    let image_len = opened.source.len();
    let began = Instant::now();
    let found = std::thread::scope(|scope| {
        let (meter, done) = (&meter, &done);
        scope.spawn(move || cards::watch(&[Shown { name: &options.device, meter }], image_len, voice, done));
        let how = verify::Options { sector, interrupted: &stop, meter };
        let found = compare(&*disk, &mut *opened.source, &how);
        done.store(true, Ordering::Relaxed);
        found
    });
    let found = found.map_err(|error| failed(&error, &opened.name))?;
    if options.json {
        let value = json!({
            "schema": "nixflash-verify/1",
            "target": options.device,
            "image": opened.name,
            "imageBytes": found.image_len,
            "compared": found.compared,
            "equal": found.is_equal(),
            "cacheBypassed": found.cache_bypassed,
            "backupMoved": found.backup_moved,
            "differences": differences(&found.differences),
        });
        output::data(&format!("{value:#}\n"))?;
    }
    conclude(options, &found, &opened.name, began.elapsed().as_secs(), voice)
}

/// Compares a card with what it says of itself.
fn content(options: &Options, voice: &Voice) -> Outcome {
    let name = options.device.display().to_string();
    let stop = Arc::new(AtomicBool::new(false));
    ui::interrupt_into(&stop)?;
    let listing = devices::listing()?;
    let named = resolve(&listing, &options.device).map_err(|error| Failure::reading(&name, &error))?;
    let found = if matches!(named, Named::File { .. }) {
        let image =
            open::open(&options.device, &super::scratch()).map_err(|error| inspect::unreadable(&error))?;
        judge(&image, &stop, voice)
    } else {
        let (disk, _) = open_target(&options.device, voice)?;
        judge(&Reader::new(&*disk), &stop, voice)
    };
    let found = found.map_err(|error| match &error {
        content::Error::NotOurs(_) => Failure::new(Code::Differs, format!("{name}: {error}")),
        content::Error::Read(_) => Failure::new(Code::Target, format!("{name}: {error}")),
        content::Error::Interrupted => Failure::new(Code::Interrupted, "interrupted; nothing was changed"),
    })?;
    if options.json {
        let bad: Vec<_> =
            found.damaged.iter().map(|(path, how)| json!({ "path": path, "problem": how })).collect();
        let value = json!({
            "schema": "nixflash-verify-content/1",
            "target": options.device,
            "verdict": word(found.verdict),
            "madeFor": found.made_for,
            "toplevel": found.toplevel,
            "storePaths": found.paths,
            "narBytes": found.bytes,
            "damaged": bad,
            "changed": found.changed,
        });
        output::data(&format!("{value:#}\n"))?;
    }
    found.changed.iter().for_each(|what| voice.say(&format!("  since then: {what}")));
    found.damaged.iter().for_each(|(path, how)| voice.always(&format!("  {path}: {how}")));
    let (paths, bytes) = (found.paths, show_bytes(found.bytes));
    let made = found.made_for.map(|made| format!("; composed for {made}")).unwrap_or_default();
    if found.verdict == Verdict::Damaged {
        let text = format!(
            "{name} is damaged in {} places ({paths} store paths, {bytes}{made})",
            found.damaged.len()
        );
        return Err(Failure::new(Code::Differs, text));
    }
    let word = word(found.verdict);
    voice.say(&format!("{name}: {word}: {paths} store paths, {bytes}, each with its registered hash{made}"));
    Ok(())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Intact => "intact",
        Verdict::Changed => "intact, changed since",
        Verdict::Damaged => "damaged",
    }
}

fn judge(disk: &dyn ReadAt, stop: &Arc<AtomicBool>, voice: &Voice) -> Result<Content, content::Error> {
    let meter = RefCell::new(None);
    let found = content::content(disk, stop, &|bytes, total| {
        let mut meter = meter.borrow_mut();
        // A signal is seen by the check itself.
        meter.get_or_insert_with(|| voice.meter("verify", total, stop)).at(bytes);
    });
    if let (Some(mut meter), Ok(found)) = (meter.into_inner(), &found) {
        meter.finish(found.bytes);
    }
    found
}

fn conclude(options: &Options, found: &Comparison, image: &str, seconds: u64, voice: &Voice) -> Outcome {
    let target = options.device.display();
    if !found.is_equal() {
        located(&found.differences, None, &found.partitions)
            .iter()
            .for_each(|place| voice.always(&format!("  {place}")));
        let text = format!("{target} does not hold {image}: {}", found.differences);
        return Err(Failure::new(Code::Differs, text));
    }
    let compared = show_bytes(found.compared);
    if !found.cache_bypassed {
        let text = format!(
            "{target} equals {image}, but it may have been read from a cache of this machine: direct I/O is not possible"
        );
        return Err(Failure::new(Code::Unverified, text));
    }
    voice.say(&format!("{target}: verified, equals {image}; {compared} read, in {seconds} s"));
    Ok(())
}

/// Opens what is to be compared, and its sector size.
fn open_target(path: &Path, voice: &Voice) -> Result<(Box<dyn Disk>, SectorSize), Failure> {
    let listing = devices::listing()?;
    let shown = path.display();
    let named = resolve(&listing, path).map_err(|error| Failure::reading(&shown.to_string(), &error))?;
    match named {
        Named::Disk(device) => {
            if device.mounts().next().is_some() {
                voice.say(&format!(
                    "warning: {shown} is mounted; what the system writes to it shows as a difference"
                ));
            }
            let disk = open_disk(&Roots::system(), &device, Access::Read)
                .map_err(|error| targets::unopened(&error))?;
            let sector = if device.sector == 4096 { SectorSize::S4096 } else { SectorSize::S512 };
            Ok((Box::new(disk), sector))
        }
        Named::File { .. } => {
            let file = open_to_read(path).map_err(|error| targets::unopened(&error))?;
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

fn failed(error: &Error, image: &str) -> Failure {
    match error {
        Error::Image(CopyError::Source(SourceError::Bad(why))) => {
            Failure::new(Code::Source, format!("{image}: {}", Failure::of(Code::Other, &**why).message()))
        }
        Error::Image(CopyError::Source(SourceError::Io(why))) => {
            Failure::new(Code::Other, format!("{image}: {}", Failure::of(Code::Other, &**why).message()))
        }
        Error::Image(_) | Error::Lost(_) => Failure::of(Code::Other, error),
        Error::Read { .. } => Failure::of(Code::Target, error),
        Error::TooSmall { .. } => Failure::of(Code::TooSmall, error),
        Error::Interrupted => Failure::new(Code::Interrupted, "interrupted; nothing was changed"),
    }
}
