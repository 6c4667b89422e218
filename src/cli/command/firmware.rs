//! `nixflash firmware`: the boot files of a card that exists, replaced so that it boots at every moment.

use crate::board;
use crate::board::Board;
use crate::card::manifest::Package;
use crate::cli::ask::open::{open_to_write, unopened};
use crate::cli::ask::target;
use crate::cli::ask::target::{Asking, Consent, Images, Target, Wishes};
use crate::cli::exit::{Code, Failure};
use crate::cli::file::board as board_file;
use crate::cli::option::pins::Pinning;
use crate::cli::option::stores::Stores;
use crate::cli::option::system_source;
use crate::cli::outcome::Outcome;
use crate::cli::show::output;
use crate::cli::show::signals;
use crate::cli::show::terminal::Voice;
use crate::compose::BootSet;
use crate::device::disk::Disk;
use crate::device::{Access, Roots, Wanted, open_disk, open_file_in_place, open_to_read};
use crate::sizes::show_bytes;
use crate::update;
use crate::update::{ChangeKind, Config, Error, Plan};
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// Replace the firmware and boot loader of an existing Raspberry Pi card.
///
/// Only files that the board's firmware and U-Boot bring are touched: the
/// system, its kernels, and files that are not of the firmware stay. New files
/// are written beside the old ones and take effect by one sector, so that a card
/// that is pulled boots either the old or the new ones.
#[derive(clap::Args)]
pub struct Options {
    /// The board: see `nixflash boards`
    #[arg(value_name = "BOARD", required_unless_present = "board_file")]
    board: Option<String>,
    /// The card, such as /dev/sdX, or an image file
    #[arg(value_name = "DEVICE|IMAGE")]
    device: Option<PathBuf>,
    /// Take the board's config.txt, whatever the owner of the card has changed
    #[arg(long)]
    replace_config_txt: bool,
    /// Print what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what changes as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten, next_help_heading = "Firmware")]
    source: Source,
    #[command(flatten, next_help_heading = "Consent")]
    consent: Consent,
}

/// Where boot files come from.
#[derive(clap::Args)]
struct Source {
    /// A board profile of your own instead of a board
    #[arg(id = "board_file", long = "board", value_name = "FILE.toml")]
    board_file: Option<PathBuf>,
    /// Firmware: a directory (a package, or the root of a store), or a store
    /// path, which the stores have
    #[arg(long, value_name = "PATH")]
    firmware: Vec<PathBuf>,
    /// Add a line, or the lines of a file, to the board's config.txt
    #[arg(long, value_name = "FILE|LINE")]
    config_txt: Vec<String>,
    #[command(flatten)]
    pinning: Pinning,
    #[command(flatten)]
    stores: Stores,
}

impl Source {
    /// The board, and what its packages bring.
    fn boot_set(&self, name: Option<&str>, voice: &Voice) -> Result<(Board, BootSet), Failure> {
        let mut board = match &self.board_file {
            Some(file) => board_file::read(file)?.0,
            None => {
                board::find(name.unwrap_or_default()).map_err(|error| Failure::of(Code::Usage, &error))?
            }
        };
        board_file::add_config_txt(&mut board, &self.config_txt)?;
        let remote = self.stores.remote(voice)?;
        let stores = match self.stores.open_with(None, &remote) {
            Err(_)
                if self.stores.is_empty()
                    && system_source::may_lack_stores(&self.firmware, &self.pinning) =>
            {
                Vec::new()
            }
            stores => stores?,
        };
        let channels = self.pinning.channels(&remote)?;
        let set = system_source::boot_files(&board, &self.firmware, stores, channels)?;
        Ok((board, set))
    }
}

/// Runs the command.
pub fn run(options: &Options, voice: &Voice) -> Outcome {
    // With a profile of one's own there is no word for the board, so the first is the device.
    let (board, device) = match (&options.source.board_file, &options.board, &options.device) {
        (Some(_), Some(_), Some(_)) => {
            return Err(Failure::new(Code::Usage, "with --board, only the DEVICE is named"));
        }
        (Some(_), Some(word), None) => (None, Some(PathBuf::from(word))),
        (_, board, device) => (board.as_deref(), device.clone()),
    };
    let device = device
        .ok_or_else(|| Failure::new(Code::Usage, "no DEVICE was given").hint("see `nixflash devices`"))?;
    // Before packages are looked for, which may take long.
    if !device.exists() {
        return Err(Failure::new(Code::Other, format!("{} does not exist", device.display()))
            .hint("name a disk, as in `nixflash devices`, or an image"));
    }
    let (board, set) = options.source.boot_set(board, voice)?;
    for (key, package) in &set.packages {
        voice.detail(&format!("{key}: {}", told(package)));
    }
    if !options.dry_run {
        options.source.pinning.pin(&set.pins, voice)?;
    }
    let reads = options.source.firmware.clone();
    let wanted = Wanted { need: None, image_sector: Some(512), reads: &reads };
    // A dry run writes nothing, so nobody has to agree to anything.
    let nothing = Consent { yes: true, allow_fixed: true, identity: None, unmount: false };
    let consent = if options.dry_run { &nothing } else { &options.consent };
    // A card in a file is changed, not overwritten.
    let wishes = Wishes { doubt: None, asking: Asking::Person, images: Images::Overwrite };
    let mut targets = target::agree(std::slice::from_ref(&device), &wanted, consent, &wishes, voice)?;
    // cannot fail: one path gives one target
    let target = targets.pop().expect("one path was given");
    let disk = open(&target, options, voice)?;
    let config = if options.replace_config_txt { Config::Replace } else { Config::Keep };
    let BootSet { files, packages, pins: _ } = set;
    let epoch = system_source::epoch()?;
    let wanted = update::Wanted { board: &board, files, packages: packages.clone(), config, epoch };
    let plan = update::plan(&*disk, wanted).map_err(|error| failed(&device, &error))?;
    tell(&plan, voice);
    if !options.json && options.dry_run {
        output::data(&output::escape_lines(&text(&plan)))?;
    }
    let mut report = None;
    if !options.dry_run && !plan.is_done() {
        let stop = signals::interrupt_flag()?;
        let mut meter = voice.meter("firmware", plan.bytes(), &stop);
        let done = plan.apply(&*disk, &stop, &mut |position| {
            crate::image::Progress::at(&mut meter, position);
        });
        let done = done.map_err(|error| failed(&device, &error))?;
        meter.finish(done.written);
        report = Some(done);
    }
    if options.json {
        let value = json!({
            "schema": "nixflash-firmware-update/1",
            "target": device,
            "board": board.name,
            "packages": packages,
            "changes": plan.changes(),
            "configTxt": plan.config(),
            "result": match (&report, options.dry_run, plan.is_done()) {
                (Some(_), ..) => "updated",
                (None, _, true) => "up-to-date",
                (None, ..) => "planned",
            },
            "written": report.map_or(0, |report| report.written),
        });
        output::data(&format!("{value:#}\n"))?;
    }
    conclude(&device, &plan, report, voice)
}

/// A package by its store path, or by its hash where it is in no store.
fn told(package: &Package) -> &str {
    package.path.as_deref().or(package.nar_hash.as_deref()).unwrap_or_default()
}

fn open(target: &Target, options: &Options, voice: &Voice) -> Result<Box<dyn Disk>, Failure> {
    match target {
        Target::File(path, _) if options.dry_run => {
            Ok(Box::new(open_to_read(path).map_err(|error| unopened(&error))?))
        }
        Target::File(path, existing) => {
            Ok(Box::new(open_file_in_place(path, *existing).map_err(|error| unopened(&error))?))
        }
        // Nothing is written in a dry run, so that a disk in use may be looked at.
        Target::Disk(device) if options.dry_run => {
            let disk = open_disk(&Roots::system(), device, Access::Read);
            Ok(Box::new(disk.map_err(|error| unopened(&error))?))
        }
        // A signal ends the program here, before anything is written.
        Target::Disk(_) => open_to_write(target, &options.consent, &AtomicBool::new(false), voice),
    }
}

/// Says what the user should know before anything is written.
fn tell(plan: &Plan, voice: &Voice) {
    if plan.resumes() {
        voice.say("an update of this card was cut short; it is finished now");
    }
    let config = plan.config();
    if config.kept && !config.difference.is_empty() {
        voice.say("config.txt was changed by its owner and stays; from it to the board's:");
        config.difference.iter().for_each(|line| voice.say(&format!("  {line}")));
    }
}

fn text(plan: &Plan) -> String {
    let word = |kind| match kind {
        ChangeKind::Added => "add",
        ChangeKind::Replaced => "replace",
        ChangeKind::Removed => "remove",
        ChangeKind::Same => "same",
        ChangeKind::Kept => "keep",
    };
    let mut text = String::new();
    for change in plan.changes() {
        text.push_str(&format!(
            "{:8} {} ({})\n",
            word(change.change),
            crate::escape::shown(&change.path),
            show_bytes(change.len)
        ));
    }
    if plan.is_done() {
        text.push_str("nothing to do\n");
    } else {
        text.push_str(&format!("{} would be written\n", show_bytes(plan.bytes())));
    }
    text
}

fn conclude(device: &std::path::Path, plan: &Plan, report: Option<update::Report>, voice: &Voice) -> Outcome {
    let count = |kind| plan.changes().iter().filter(|change| change.change == kind).count();
    let name = device.display();
    match report {
        None if plan.is_done() => voice.say(&format!("{name}: its boot files are those of this firmware")),
        None => {}
        Some(report) => {
            let (added, replaced, removed) =
                (count(ChangeKind::Added), count(ChangeKind::Replaced), count(ChangeKind::Removed));
            let written = show_bytes(report.written);
            voice.say(&format!(
                "{name}: {replaced} files replaced, {added} added, {removed} removed; {written} written and read back"
            ));
        }
    }
    Ok(())
}

/// An update that cannot be, or failed, with its code and a hint.
fn failed(device: &std::path::Path, error: &Error) -> Failure {
    let code = match error {
        Error::Board { .. } => Code::Usage,
        Error::Card { .. } => Code::Refused,
        Error::Room { .. } => Code::TooSmall,
        Error::Io { .. } => Code::Target,
        Error::Differs { .. } => Code::Differs,
        Error::Interrupted(_) => Code::Interrupted,
        Error::Volume(_) | Error::Fat(_) | Error::Config { .. } | Error::Table(_) => Code::Other,
    };
    let told = Failure::of(code, error);
    let failure = Failure::new(code, format!("{}: {}", device.display(), told.message()));
    match error {
        Error::Room { .. } => {
            failure.hint("delete files from the FAT that are not needed, or compose the card anew")
        }
        Error::Config { .. } => failure.hint("take the board's with --replace-config-txt"),
        Error::Volume(_) => {
            failure.hint("unpack a packed image first; a damaged FAT is repaired by fsck.fat")
        }
        _ => failure,
    }
}
