//! `nixflash lock`: what is pinned of a channel, looked up again.

use crate::cli::exit::{Code, Failure};
use crate::cli::file::stranger::Asked;
use crate::cli::option::system_source::Inputs;
use crate::cli::outcome::Outcome;
use crate::cli::show::output;
use crate::cli::show::terminal::Voice;
use crate::compose::Pin;
use std::fmt::Write;

/// Look up the firmware of a board in its channel again, and pin it.
///
/// The next images have it; nothing is composed. What is not said here is taken
/// from the nixflash.toml of the working directory, if there is one. What
/// changes is printed.
#[derive(clap::Args)]
pub struct Options {
    /// The board: see `nixflash boards`
    #[arg(conflicts_with = "board_file")]
    board: Option<String>,
    #[command(flatten)]
    inputs: Inputs,
    /// Print what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(mut options: Options, voice: &Voice) -> Outcome {
    if let Some(mut project) = options.inputs.find_project(Asked::ByNobody, voice)? {
        if options.board.is_none() && options.inputs.board_file.is_none() {
            (options.board, options.inputs.board_file) = (project.board.take(), project.board_file.take());
        }
        options.inputs.adopt(&mut project);
    }
    let Options { board, mut inputs, dry_run } = options;
    if board.is_none() && inputs.board_file.is_none() {
        return Err(
            Failure::new(Code::Usage, "no board").hint("name one of those that `nixflash boards` lists")
        );
    }
    if !inputs.pinning.has_channel() {
        let failure = Failure::new(Code::Usage, "no channel: only what is taken from one is pinned");
        return Err(failure.hint("name one, as in --channel nixos-25.11, or write it into nixflash.toml"));
    }
    // It is of images: a card that exists would refuse it.
    inputs.boot_size = None;
    let before = inputs.pinning.renew();
    let (_, set) = inputs.boot_set(board.as_deref(), voice)?;
    if !dry_run {
        inputs.pinning.pin(&set.pins, voice)?;
    }
    output::data(&output::escape_lines(&changes(&before, &set.pins)))
}

/// What becomes of each package, in lines.
fn changes(before: &[Pin], now: &[Pin]) -> String {
    let mut text = String::new();
    let shown = |pin: &Pin| pin.found.as_ref().map_or("none".to_owned(), |(path, _)| path.to_string());
    for pin in now {
        let old = before.iter().find(|old| (&old.board, &old.package) == (&pin.board, &pin.package));
        let what = match old {
            None => shown(pin),
            Some(old) if old.found == pin.found => format!("{}, as before", shown(pin)),
            Some(old) => format!("{} -> {}", shown(old), shown(pin)),
        };
        // cannot fail: a string takes what it is given
        let line = format!("{} of {}: {what}", pin.package, pin.board);
        writeln!(text, "{}", crate::escape::shown(&line)).ok();
    }
    text
}
