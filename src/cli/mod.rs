//! Words, terminal, exit codes: one file per command.

mod boards;
mod cache;
mod cards;
mod check;
mod compose;
mod devices;
mod diff;
mod downloads;
mod embed;
mod exit;
mod extract;
mod failures;
mod fetching;
mod firmware;
mod flake;
mod git;
mod image_file;
mod inputs;
mod inspect;
mod judged;
mod lock;
mod lock_file;
mod network;
mod nix_conf;
mod output;
mod password;
mod pinning;
mod project;
mod reproduce;
mod sources;
mod stores;
mod system;
mod targets;
mod transport;
mod trust;
mod ui;
mod verify;
mod write;
mod written;

use clap::{Args, Parser, Subcommand};
use exit::Failure;
use std::io::Read;
use std::process::ExitCode;

/// Composes, writes and verifies NixOS cards from built system closures.
///
/// No root, no virtual machine, no Nix: the closure comes from a store or a
/// binary cache, and the same input gives the same bits.
#[derive(Parser)]
#[command(name = "nixflash", version, max_term_width = 80, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    talk: Talk,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit status: 0 done; 1 failed; 2 usage; 3 differs; 4 target refused; 5 target
too small; 6 source bad (truncated, hash, format); 7 target I/O error;
8 permission; 9 written but not verified; 130 interrupted.";

#[derive(Subcommand)]
enum Command {
    Compose(Box<compose::Options>),
    Check(Box<check::Options>),
    Write(Box<write::Options>),
    Verify(verify::Options),
    Devices(devices::Options),
    Inspect(inspect::Options),
    Reproduce(Box<reproduce::Options>),
    Diff(diff::Options),
    Boards(boards::Options),
    Firmware(Box<firmware::Options>),
    Lock(Box<lock::Options>),
    Cache(cache::Options),
}

/// How much is said, and how.
#[derive(Args, Clone, Copy)]
struct Talk {
    /// How to show progress on standard error
    #[arg(long, global = true, value_enum, default_value_t = ui::Style::Auto, value_name = "HOW")]
    progress: ui::Style,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let voice = ui::Voice::new(cli.talk.progress, cli.talk.quiet, cli.talk.verbose);
    let result = match cli.command {
        Command::Compose(options) => compose::run(*options, &voice),
        Command::Check(options) => check::run(&options, &voice),
        Command::Write(options) => write::run(*options, &voice),
        Command::Verify(options) => verify::run(&options, &voice),
        Command::Devices(options) => devices::run(&options),
        Command::Inspect(options) => inspect::run(&options, &voice),
        Command::Reproduce(options) => reproduce::run(&options, &voice),
        Command::Diff(options) => diff::run(&options, &voice),
        Command::Boards(options) => boards::run(&options),
        Command::Firmware(options) => firmware::run(&options, &voice),
        Command::Lock(options) => lock::run(*options, &voice),
        Command::Cache(options) => cache::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => exit::report(&failure),
    }
}

/// Whether the environment is that of the user who answers for it: under sudo it may be another's.
#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
fn trusts_environment() -> bool {
    std::env::var_os("SUDO_UID").is_none() || !nix::unistd::geteuid().is_root()
}

/// Who called sudo, where this is root by it.
#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
fn sudo_uid() -> Option<u32> {
    if trusts_environment() {
        return None;
    }
    std::env::var("SUDO_UID").ok()?.parse().ok()
}

/// The text of a file of at most `longest` bytes.
fn text_of(file: std::fs::File, name: &str, longest: u64) -> Result<String, Failure> {
    let mut text = String::new();
    file.take(longest + 1).read_to_string(&mut text).map_err(|error| Failure::reading(name, &error))?;
    if crate::num::to_u64(text.len()) > longest {
        return Err(Failure::new(exit::Code::Usage, format!("{name}: is longer than {longest} bytes")));
    }
    Ok(text)
}

/// The number of the line that a byte of a text is on.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// What the TOML parser says, with the line.
fn toml_message(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let Some(span) = error.span() else { return message };
    let number = line_of(text, span.start);
    let line: String = text.lines().nth(number - 1).unwrap_or_default().trim().chars().take(60).collect();
    format!("line {number}: `{line}`: {message}")
}

/// Where what was fetched is kept: the user's cache directory, or the system's where the environment is another's.
#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
fn kept() -> std::path::PathBuf {
    let absolute = |name: &str| {
        let path = std::env::var_os(name).map(std::path::PathBuf::from);
        path.filter(|path| path.is_absolute() && trusts_environment())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    cache.unwrap_or_else(|| "/var/cache".into()).join("nixflash")
}

/// How much of what was fetched is kept unless told otherwise: 20 GiB, or a tenth of the disk if that is less.
fn cache_size(kept: &std::path::Path) -> u64 {
    const MOST: u64 = 20 << 30;
    let there = kept.ancestors().find(|path| path.is_dir());
    let disk = there.and_then(|path| nix::sys::statvfs::statvfs(path).ok());
    disk.map_or(MOST, |disk| MOST.min(disk.blocks().saturating_mul(disk.fragment_size()) / 10))
}

/// Where what is unpacked goes for a while.
fn scratch() -> std::path::PathBuf {
    if trusts_environment() { std::env::temp_dir() } else { "/var/tmp".into() }
}

type Outcome = Result<(), Failure>;
