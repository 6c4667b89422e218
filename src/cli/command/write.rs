//! `nixflash write`: an image, or a composed system, onto cards; read back and only then made bootable.

use crate::cli::ask::dry_run;
use crate::cli::ask::dry_run::DryRun;
use crate::cli::ask::existing;
use crate::cli::ask::open::open_to_write;
use crate::cli::ask::target;
use crate::cli::ask::target::{Asking, Consent, Images, Target, Wishes};
use crate::cli::exit::{Code, Failure};
use crate::cli::file::project;
use crate::cli::file::stranger::Asked;
use crate::cli::option::image_source;
use crate::cli::option::image_source::Sidecars;
use crate::cli::option::system_source::Inputs;
use crate::cli::outcome::Outcome;
use crate::cli::show::card_table;
use crate::cli::show::card_table::Shown;
use crate::cli::show::signals;
use crate::cli::show::terminal::Voice;
use crate::cli::show::write_report::{Form, Written, conclude, failed, located};
use crate::compose::{Plan, RootSize};
use crate::device::disk::Disk;
use crate::device::write::{Check, Rewrite};
use crate::device::{Fault, Meter, Roots, Wanted, eject};
use crate::flash;
use crate::flash::{Card, Outcome as Flashed};
use crate::image::Source;
use crate::source::{Contents, Short, Tolerance, Unknown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Write an image or a system to cards, and verify them.
///
/// Without --system, the first word is an image: a file, - or an http(s)
/// address; raw or packed as zst, xz, gz, bz2, lz4 or zip; qcow2, vdi, vhd,
/// vhdx or vmdk. With --system it is a board, and the system is composed
/// straight onto each card, for its size.
/// With --project, a nixflash.toml names board and system: every word is a
/// device, and no device is ever taken from the file.
/// A card is read back, and gets its partition table only when all is right.
#[derive(clap::Args)]
pub struct Options {
    /// An image; with --system a board
    #[arg(value_name = "IMAGE|BOARD", required_unless_present_any = ["board_file", "project"])]
    image: Option<String>,
    /// Disks, such as /dev/sdX, or files; picked from a list on a terminal
    #[arg(value_name = "DEVICE")]
    devices: Vec<PathBuf>,
    /// Compose this toplevel: a store path, a link such as ./result, or a flake
    /// with its host, as in .#pi: Nix builds it
    #[arg(long, value_name = "SYSTEM")]
    system: Option<String>,
    #[command(flatten, next_help_heading = "Composing")]
    inputs: Inputs,
    #[command(flatten, next_help_heading = "Image")]
    sidecars: Sidecars,
    #[command(flatten, next_help_heading = "Consent")]
    consent: Consent,
    #[command(flatten, next_help_heading = "Writing")]
    how: How,
}

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
struct How {
    /// Read first, and write only what differs
    #[arg(long)]
    minimize_writes: bool,
    /// Let the last partition reach the end of the card, with its ext4 if
    /// nixflash made it
    #[arg(long)]
    grow: bool,
    /// Do not read the card back
    #[arg(long)]
    no_verify: bool,
    /// Detach the disks at the end
    #[arg(long)]
    eject: bool,
    /// Write an image that ends before its own partitions do
    #[arg(long)]
    partial: bool,
    /// Write bytes that have neither a partition table nor a file system
    #[arg(long)]
    raw_anyway: bool,
    /// Overwrite a file that is an image itself
    #[arg(long)]
    force: bool,
    /// Print what would be written where, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what became of each card as JSON
    #[arg(long)]
    json: bool,
}

impl How {
    /// What of an image is taken although it looks wrong. What only a person can know is asked on a terminal.
    fn tolerance(&self) -> Tolerance {
        let asked = self.raw_anyway || (self.dry_run || target::can_ask());
        Tolerance {
            short: if self.partial { Short::Take } else { Short::Refuse },
            unknown: if asked { Unknown::Take } else { Unknown::Refuse },
        }
    }

    const fn wishes(&self) -> Wishes<'_> {
        Wishes {
            doubt: None,
            asking: if self.dry_run { Asking::Never } else { Asking::Person },
            images: if self.force { Images::Overwrite } else { Images::Keep },
        }
    }
}

/// Cards that get the same bytes.
struct Batch<'a> {
    /// What is written, as the user named it.
    name: &'a str,
    targets: Vec<&'a Target>,
    source: Box<dyn Source>,
    /// What knows which file lies where.
    plan: Option<Plan>,
}

impl Options {
    const fn form(&self) -> Form {
        if self.how.json { Form::Json } else { Form::Words }
    }
}

/// Runs the command.
pub fn run(mut options: Options, voice: &Voice) -> Outcome {
    let (mut from, mut board) = (PathBuf::new(), None);
    let named = options.inputs.project.is_some();
    // A file that nobody named must not turn an image into a device, or a device into a target.
    if let Some(mut project) = if named { options.inputs.find_project(Asked::ByNobody, voice)? } else { None }
    {
        if options.system.is_none() {
            (options.system, from) = (project.system.take(), project.directory.clone());
        }
        if options.inputs.board_file.is_none() {
            (board, options.inputs.board_file) = (project.board.take(), project.board_file.take());
        }
        options.inputs.adopt(&mut project);
        if options.system.is_none() || (board.is_none() && options.inputs.board_file.is_none()) {
            return Err(Failure::new(Code::Usage, "--project: the file must name a board and a system")
                .hint("or name them with --system and --board FILE.toml"));
        }
    }
    let options = &options;
    let (first, mut devices) = (options.image.clone(), options.devices.clone());
    if let (Some(word), [device], None, false) = (&first, &*devices, &options.system, options.how.force) {
        ensure_not_swapped(word, device)?;
    }
    // Where the board is known from elsewhere there is no word for it, so the first is a device.
    let first = match first {
        Some(word) if named || options.inputs.board_file.is_some() => {
            devices.insert(0, PathBuf::from(word));
            board
        }
        None => board,
        first => first,
    };
    if options.inputs.board_file.is_some() && options.system.is_none() {
        return Err(Failure::new(Code::Usage, "--board needs --system"));
    }
    if let (Some(word), None, true) = (&first, &options.system, devices.is_empty()) {
        ensure_no_device(word)?;
    }
    if devices.is_empty() {
        devices.push(target::pick()?);
    }
    match &options.system {
        Some(system) => composed(options, first.as_deref(), (system, &from), &devices, voice),
        None => image(options, first.as_deref().unwrap_or_default(), &devices, voice),
    }
}

/// A device alone where a project file lies is meant as the target, and would be read as an image.
fn ensure_no_device(word: &str) -> Outcome {
    use std::os::unix::fs::FileTypeExt;
    let is_device = Path::new(word).metadata().is_ok_and(|metadata| metadata.file_type().is_block_device());
    if !is_device || !Path::new(project::NAME).is_file() {
        return Ok(());
    }
    let file = project::NAME;
    Err(Failure::new(Code::Usage, format!("{word} is a device, and the first word is an image or a board"))
        .hint(format!("to compose the system of {file} onto it: nixflash write --project {file} {word}")))
}

/// A device and then an image are the words in the wrong order: the image would be lost.
fn ensure_not_swapped(word: &str, device: &Path) -> Outcome {
    use std::os::unix::fs::FileTypeExt;
    let is_device = Path::new(word).metadata().is_ok_and(|metadata| metadata.file_type().is_block_device());
    if !is_device || !existing::is_image(device) {
        return Ok(());
    }
    let device = device.display();
    Err(Failure::new(Code::Usage, format!("{word} is a device and {device} an image: the image comes first"))
        .hint(format!(
            "nixflash write {device} {word}; or, to overwrite {device} with what is on {word}, --force"
        )))
}

/// Writes an image.
fn image(options: &Options, spec: &str, devices: &[PathBuf], voice: &Voice) -> Outcome {
    if crate::board::find(spec).is_ok() && !PathBuf::from(spec).exists() {
        return Err(Failure::new(
            Code::Usage,
            format!("{spec} is a board, and there is no --system to compose"),
        )
        .hint(format!("nixflash write {spec} DEVICE --system ./result")));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let opened = image_source::open(
        spec,
        &options.sidecars,
        options.how.tolerance(),
        options.inputs.workers(),
        &stop,
    )?;
    let is_doubted = opened.contents == Contents::Unknown && !options.how.raw_anyway && !options.how.dry_run;
    let doubt = is_doubted.then_some(&*opened.name);
    doubt.map_or(Ok(()), target::ensure_can_ask_about)?;
    let reads = image_source::reads(spec);
    let wanted = Wanted { need: opened.source.len(), image_sector: None, reads: &reads };
    let wishes = Wishes { doubt, ..options.how.wishes() };
    let targets = target::agree(devices, &wanted, &options.consent, &wishes, voice)?;
    let packed =
        if opened.layers.is_raw() { "raw".to_owned() } else { format!("packed as {}", opened.layers.name()) };
    opened.notes.iter().for_each(|note| voice.say(&format!("note: {note}")));
    let len = opened.source.len().map_or_else(|| "length not known yet".to_owned(), card_table::size);
    voice.detail(&format!("{}: {packed}, {len}", opened.name));
    for check in &opened.checks {
        voice.detail(&format!("{}: checked with {check}", opened.name));
    }
    if options.how.dry_run {
        let dry = DryRun { image: &opened, packed: &packed, len: &len, targets: &targets };
        return dry.tell(options.form());
    }
    signals::interrupt_into(&stop)?;
    let batch =
        Batch { name: &opened.name, targets: targets.iter().collect(), source: opened.source, plan: None };
    let results = write(batch, options, &stop, voice)?;
    conclude(&results, &opened.name, options.form(), voice)
}

/// Composes a system onto cards: those of the same size get the same bytes.
fn composed(
    options: &Options,
    board: Option<&str>,
    (name, from): (&str, &Path),
    devices: &[PathBuf],
    voice: &Voice,
) -> Outcome {
    // Built before anything is asked: an answer is worth most just before the writing.
    let system = &options.inputs.system(name, from, voice)?;
    let reads = options.inputs.reads(system);
    // What is composed counts in sectors of 512 bytes.
    let wanted = Wanted { need: None, image_sector: Some(512), reads: &reads };
    let targets = target::agree(devices, &wanted, &options.consent, &options.how.wishes(), voice)?;
    let mut sizes: Vec<Option<u64>> = targets.iter().map(Target::size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut plans = Vec::new();
    // All plans before any write: what cannot be composed for one card is said while all are untouched.
    for size in sizes {
        let root_size = size.map_or(RootSize::Free(FREE), RootSize::Card);
        let plan = options.inputs.plan(board, system, root_size, voice)?;
        if !options.how.dry_run {
            options.inputs.pinning.pin(&plan.pins, voice)?;
        }
        plans.push((size, plan));
    }
    if let Some((_, plan)) = plans.first() {
        plan.summary.warnings.iter().for_each(|warning| voice.say(&format!("warning: {warning}")));
    }
    if options.how.dry_run {
        return dry_run::tell_plans(&plans, &targets, options.form());
    }
    let stop = Arc::new(AtomicBool::new(false));
    signals::interrupt_into(&stop)?;
    let mut results = Vec::new();
    for (size, plan) in plans {
        let same = targets.iter().filter(|target| target.size() == size).collect();
        let source = plan.source(options.inputs.workers());
        let batch = Batch { name, targets: same, source, plan: Some(plan) };
        results.extend(write(batch, options, &stop, voice)?);
    }
    conclude(&results, name, options.form(), voice)
}

/// Free space on a root that is composed into a file.
const FREE: u64 = 64 << 20;

/// Opens the targets of a batch and writes them.
fn write(
    batch: Batch<'_>,
    options: &Options,
    stop: &Arc<AtomicBool>,
    voice: &Voice,
) -> Result<Vec<Written>, Failure> {
    let Batch { name, targets, mut source, plan } = batch;
    let opened: Result<Vec<Box<dyn Disk>>, Failure> =
        targets.iter().map(|target| open_to_write(target, &options.consent, stop, voice)).collect();
    let opened = opened?;
    let meters: Vec<Meter> = targets.iter().map(|_| Meter::default()).collect();
    let image_len = source.len();
    let began = Instant::now();
    let done = AtomicBool::new(false);
    let flashed = std::thread::scope(|scope| {
        let shown: Vec<Shown<'_>> =
            targets.iter().zip(&meters).map(|(target, meter)| Shown { name: target.path(), meter }).collect();
        let done = &done;
        scope.spawn(move || card_table::watch(&shown, image_len, voice, done));
        let cards: Vec<Card<'_>> = targets
            .iter()
            .zip(&opened)
            .zip(&meters)
            .map(|((target, disk), meter)| Card { disk: &**disk, sector: target.sector(), meter })
            .collect();
        let how = flash::Options {
            check: if options.how.no_verify { Check::Skip } else { Check::Verify },
            rewrite: if options.how.minimize_writes { Rewrite::Changed } else { Rewrite::All },
            grow: options.how.grow,
            image_sector: None,
            interrupted: stop,
        };
        let flashed = flash::write(&mut *source, &cards, &how);
        done.store(true, Ordering::Relaxed);
        flashed
    });
    // Closed before they are ejected.
    drop(opened);
    let seconds = began.elapsed().as_secs();
    let Flashed { image, cards, partitions } = flashed;
    let results = targets.iter().zip(cards).map(|(target, card)| {
        let mut result = Written {
            target: target.path().to_path_buf(),
            outcome: Err(Failure::new(Code::Other, String::new())),
            places: Vec::new(),
            differences: None,
            seconds,
        };
        result.outcome = match card {
            Ok(report) => eject_if_asked(target, options).map(|()| report),
            Err(error) => {
                if let Fault::Differs(found) = &error.fault {
                    result.places = located(found, plan.as_ref(), &partitions);
                    result.differences = Some(found.clone());
                }
                Err(failed(&error, image.as_ref().err(), name).and(&target.after_failure(&error.left)))
            }
        };
        result
    });
    Ok(results.collect())
}

fn eject_if_asked(target: &Target, options: &Options) -> Result<(), Failure> {
    match target {
        Target::Disk(device) if options.how.eject => {
            eject(&Roots::system(), device).map(drop).map_err(|error| {
                let path = device.path.display();
                Failure::new(
                    Code::Target,
                    format!("{path} is written and verified, but cannot be detached: {error}"),
                )
            })
        }
        _ => Ok(()),
    }
}
