//! `nixflash verify`: whether a card holds an image, or what it says of itself.

use super::{devices, verify_card};
use crate::cli::ask::target;
use crate::cli::exit::{Code, Failure};
use crate::cli::option::image_source;
use crate::cli::option::image_source::Sidecars;
use crate::cli::outcome::Outcome;
use crate::cli::show::card_table;
use crate::cli::show::card_table::Shown;
use crate::cli::show::output;
use crate::cli::show::signals;
use crate::cli::show::terminal::Voice;
use crate::cli::show::write_report::{differences, located};
use crate::device::disk::Disk;
use crate::device::{Access, Meter, Named, Roots, open_disk, open_to_read, resolve};
use crate::format::disk::partition_table::SectorSize;
use crate::image::{CopyError, SourceError};
use crate::sizes::show_bytes;
use crate::source::{Short, Tolerance, Unknown};
use crate::verify;
use crate::verify::{Comparison, Error, compare};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Compare a card with the image it should hold, or with what it says of itself.
///
/// With --image, byte for byte. Without, the card is held against its own
/// manifest, database and signatures: every store path is hashed, every boot
/// file, link, label and checksum compared. What a running system changes (new
/// store paths, generations, its journal, logs) is told apart.
#[derive(clap::Args)]
pub struct Options {
    /// The disk, such as /dev/sdX, or a file
    pub device: PathBuf,
    /// The image: a file, - or an http(s) address, raw or packed
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    #[command(flatten)]
    sidecars: Sidecars,
    /// A public key: NAME:BASE64 of store paths, beside those of
    /// cache.nixos.org and of nix.conf; or one of minisign, or the file that it
    /// is in, one of which must then have signed the manifest
    #[arg(long, value_name = "KEY")]
    pub trusted_key: Vec<String>,
    /// With a key: take a generation that nobody signed as the one that boots,
    /// as after nixos-rebuild on the card
    #[arg(long)]
    pub allow_unsigned_generations: bool,
    /// With a key: take firmware that `nixflash firmware` has replaced
    #[arg(long)]
    pub allow_unsigned_firmware: bool,
    /// Threads that unpack or hash [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// How many threads work.
    pub fn workers(&self) -> usize {
        let all = || crate::workers::cores();
        self.threads.map_or_else(all, usize::from)
    }
}

/// What was written on purpose can be compared too.
const ANY: Tolerance = Tolerance { short: Short::Take, unknown: Unknown::Take };

/// Runs the command.
pub fn run(options: &Options, voice: &Voice) -> Outcome {
    let Some(image) = &options.image else { return verify_card::run(options, voice) };
    let (disk, sector) = open_target(&options.device, voice)?;
    let stop = Arc::new(AtomicBool::new(false));
    signals::interrupt_into(&stop)?;
    let mut opened = image_source::open(image, &options.sidecars, ANY, options.workers(), &stop)?;
    let (meter, done) = (Meter::default(), AtomicBool::new(false));
    let image_len = opened.source.len();
    let began = Instant::now();
    let found = std::thread::scope(|scope| {
        let (meter, done) = (&meter, &done);
        scope.spawn(move || {
            card_table::watch(&[Shown { name: &options.device, meter }], image_len, voice, done)
        });
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
pub fn open_target(path: &Path, voice: &Voice) -> Result<(Box<dyn Disk>, SectorSize), Failure> {
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
                .map_err(|error| target::unopened(&error))?;
            let sector = if device.sector == 4096 { SectorSize::S4096 } else { SectorSize::S512 };
            Ok((Box::new(disk), sector))
        }
        Named::File { .. } => {
            let file = open_to_read(path).map_err(|error| target::unopened(&error))?;
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
