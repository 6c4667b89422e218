//! `nixflash inspect`: what is on an image or a card.

use super::Outcome;
use super::ui::Voice;
use std::path::PathBuf;

/// Show what is on an image.
#[derive(clap::Args)]
pub struct Options {
    /// The image, compressed or not, or a device
    image: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(options: &Options, _voice: &Voice) -> Outcome {
    let _ = (&options.image, options.json);
    Ok(())
}
