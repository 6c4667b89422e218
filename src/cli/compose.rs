//! `nixflash compose`: an image out of a closure.

use super::exit::{Code, Failure};
use super::ui::{self, Voice};
use super::{Outcome, output, system};
use crate::board::{self, Board};
use crate::compose::{self, Plan, Request, RootSize};
use crate::num::{parse_bytes, show_bytes};
use crate::store::{self, Store};
use std::path::{Path, PathBuf};

/// Compose an image of a built NixOS system.
#[derive(clap::Args)]
pub struct Options {
    /// The board: see `nixflash boards`
    #[arg(required_unless_present = "board_file")]
    board: Option<String>,
    /// A board profile of your own instead
    #[arg(long = "board", value_name = "FILE.toml", conflicts_with = "board")]
    board_file: Option<PathBuf>,
    /// The toplevel: a store path, or a link to one such as ./result
    #[arg(long, value_name = "PATH")]
    system: String,
    /// Where its closure is: a store directory, a registration file,
    /// file://CACHE; several are asked in order [default: this machine's]
    #[arg(long, value_name = "STORE")]
    store: Vec<String>,
    /// The directory that a registration given with --store describes
    #[arg(long, value_name = "DIR")]
    store_dir: Option<PathBuf>,
    /// A directory with firmware: a package, or the root of a store
    #[arg(long, value_name = "DIR")]
    firmware: Vec<PathBuf>,
    /// The image to make, or - for standard output
    #[arg(short, long, value_name = "FILE", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// How to pack it [default: from the name; raw for -]
    #[arg(long, value_enum, value_name = "HOW")]
    format: Option<Format>,
    /// Compression level: 1-19 for zst, 0-9 for xz and gz
    #[arg(long, value_name = "N")]
    level: Option<u32>,
    /// Length of the whole image, such as 8GiB; the root fills it
    #[arg(long, value_name = "SIZE", value_parser = bytes, conflicts_with = "free")]
    size: Option<u64>,
    /// Free space on a root that is otherwise as small as can be
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "64MiB")]
    free: u64,
    /// Length of the FAT with boot files [default: of the profile]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    boot_size: Option<u64>,
    /// Also write FILE.sha256
    #[arg(long, requires = "output")]
    sha256: bool,
    /// Also write FILE.bmap
    #[arg(long, requires = "output")]
    bmap: bool,
    /// Replace an image that is there
    #[arg(short, long)]
    force: bool,
    /// Threads that read, hash and compress [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print the plan and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// How an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Sparse, as it is
    Raw,
    /// Zstandard
    Zst,
    /// xz
    Xz,
    /// gzip
    Gz,
}

fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "expected a length such as 512MiB or 8GiB".to_owned())
}

/// Inodes that stay free on the root of an image, for what the first boot makes.
const FREE_INODES: u32 = 16_384;

/// Runs the command.
pub fn run(options: &Options, voice: &Voice) -> Outcome {
    let request = request(options)?;
    let plan = compose::compose(request).map_err(|error| refused(&error))?;
    for warning in &plan.summary.warnings {
        voice.say(&format!("warning: {warning}"));
    }
    if options.dry_run {
        return print(&plan, options.json);
    }
    // cannot fail: clap demands an output unless it is a dry run
    let target = options.output.as_deref().expect("clap demands an output");
    write(&plan, target, options, voice)?;
    if options.json {
        print(&plan, true)?;
    }
    let (bytes, mapped) = (show_bytes(plan.summary.image_bytes), show_bytes(plan.summary.mapped_bytes));
    voice.say(&format!("{}: {bytes}, {mapped} of it used; look at it with: nixflash inspect {0}", target.display()));
    Ok(())
}

fn request(options: &Options) -> Result<Request, Failure> {
    let board = board(options)?;
    let system = system::find(&options.system)?;
    let mut specs = options.store.clone();
    if specs.is_empty() {
        specs.push(system.store.unwrap_or_else(|| "auto".to_owned()));
    }
    let stores: Result<Vec<Box<dyn Store>>, _> =
        specs.iter().map(|spec| store::open(spec, options.store_dir.as_deref())).collect();
    let root_size = options.size.map_or(RootSize::Free(options.free), RootSize::Image);
    Ok(Request {
        board,
        system: system.path,
        stores: stores.map_err(|error| refused(&error.into()))?,
        firmware: options.firmware.clone(),
        root_size,
        boot_size: options.boot_size,
        free_inodes: FREE_INODES,
        epoch: epoch()?,
    })
}

fn board(options: &Options) -> Result<Board, Failure> {
    let Some(file) = &options.board_file else {
        let name = options.board.as_deref().unwrap_or_default();
        return board::find(name).map_err(|error| Failure::of(Code::Usage, &error));
    };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| Failure::reading(&name, &error))?;
    board::parse(&name, &text).map_err(|error| Failure::of(Code::Usage, &error))
}

/// The time that the image carries: `SOURCE_DATE_EPOCH`, else 1, as the store has it.
#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
fn epoch() -> Result<u32, Failure> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => Ok(1),
        Ok(text) => text.trim().parse().map_err(|_| {
            Failure::new(Code::Usage, format!("SOURCE_DATE_EPOCH is {text:?}, expected seconds since 1970 below 2^32"))
        }),
    }
}

/// A failure to plan, with its code and a hint.
fn refused(error: &compose::Error) -> Failure {
    use compose::Error as E;
    match error {
        E::Store(inner) if inner.is_bad_source() => Failure::of(Code::Source, error),
        E::Toplevel { .. } => Failure::of(Code::Source, error),
        E::Firmware(missing) => {
            Failure::of(Code::Source, error).hint(format!("make it with `{}` and name it with --firmware DIR", missing.command))
        }
        E::Ext4(crate::format::ext4::Error::TooSmall { .. }) | E::NoRoot { .. } => Failure::of(Code::TooSmall, error),
        E::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => Failure::of(Code::Permission, error),
        _ => Failure::of(Code::Other, error),
    }
}

fn print(plan: &Plan, json: bool) -> Outcome {
    if json {
        // cannot fail: the summary has string keys only
        let value = serde_json::to_value(&plan.summary).expect("a summary is JSON");
        return output::data(&format!("{value:#}\n"));
    }
    output::data(&output::escape(&plan.summary.text()))
}

fn workers(options: &Options) -> usize {
    match options.threads {
        Some(threads) => usize::from(threads),
        None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    }
}

fn write(_plan: &Plan, _target: &Path, options: &Options, _voice: &Voice) -> Outcome {
    let _ = (workers(options), ui::interrupt_flag()?, options.force);
    Ok(())
}
