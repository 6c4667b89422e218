//! `nixflash verify`: whether a card holds an image, or what it says of itself.

use super::verify_card;
use super::verify_card::{Card, Trust};
use crate::cli::ask::open::open_target;
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
use crate::device::Meter;
use crate::image::{CopyError, SourceError};
use crate::sizes::show_bytes;
use crate::source::{Short, Tolerance, Unknown};
use crate::verify;
use crate::verify::{Comparison, Error, compare};
use serde_json::json;
use std::path::PathBuf;
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
    device: PathBuf,
    /// The image: a file, - or an http(s) address, raw or packed
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    #[command(flatten)]
    sidecars: Sidecars,
    #[command(flatten)]
    trust: Trust,
    /// Threads that unpack or hash [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

impl Options {
    /// How many threads work.
    fn workers(&self) -> usize {
        let all = || crate::workers::cores();
        self.threads.map_or_else(all, usize::from)
    }
}

/// What was written on purpose can be compared too.
const ANY: Tolerance = Tolerance { short: Short::Take, unknown: Unknown::Take };

/// Runs the command.
pub fn run(options: &Options, voice: &Voice) -> Outcome {
    let Some(image) = &options.image else {
        let Options { device, trust, json, .. } = options;
        let card = Card { device, trust, workers: options.workers(), json: *json };
        return verify_card::run(&card, voice);
    };
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
