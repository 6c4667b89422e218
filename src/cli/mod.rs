//! Words, terminal, exit codes: one file per command.

pub(crate) mod ask;
pub(crate) mod caller;
pub(crate) mod command;
mod exit;
pub(crate) mod file;
pub(crate) mod option;
pub(crate) mod outcome;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod talk;

use clap::{Parser, Subcommand};
use command::{
    boards, cache, check, compose, devices, diff, firmware, inspect, lock, reproduce, verify, write,
};
use exit::{Failure, Layout};
use show::{output, terminal};
use std::process::ExitCode;
use talk::Talk;

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

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let voice = terminal::Voice::new(cli.talk.progress, cli.talk.quiet, cli.talk.verbose);
    let result = match cli.command {
        Command::Compose(options) => compose::run(*options, &voice),
        Command::Check(options) => check::run(*options, &voice),
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
        Err(failure) => report(&failure),
    }
}

/// Says why the command line cannot be understood, or prints the help that was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    // clap decides between standard output (help) and standard error; a closed pipe is no failure of ours.
    drop(error.print());
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Says what failed.
fn report(failure: &Failure) -> ExitCode {
    output::error_line(&format!(
        "error: {}",
        match failure.layout {
            Layout::Line => output::escape(failure.message()),
            Layout::Lines => output::escape_lines(failure.message()),
        }
    ));
    if let Some(hint) = &failure.hint {
        // Hints are the program's own words; a command in them is quoted.
        output::error_line(&format!("hint: {}", output::escape_lines(hint)));
    }
    ExitCode::from(failure.code().number())
}
