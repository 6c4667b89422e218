//! `nixflash inspect`: what is on an image or a card.

use super::Outcome;
use super::exit::{Code, Failure};
use super::output;
use super::ui::Voice;
use crate::image::open::{self, Error};
use crate::inspect;
use std::path::PathBuf;

/// Show what is on an image or a card.
#[derive(clap::Args)]
pub struct Options {
    /// The image, compressed or not, or a device
    image: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(options: &Options, voice: &Voice) -> Outcome {
    let image = open::open(&options.image, &super::scratch()).map_err(|error| unreadable(&error))?;
    let name = options.image.display().to_string();
    voice.detail(&format!(
        "{name}: {} bytes, packed as {:?}",
        crate::stream::ReadAt::size(&image),
        image.compression
    ));
    let report = inspect::inspect(&image).map_err(|error| Failure::reading(&name, &error))?;
    if options.json {
        // cannot fail: the report has string keys only
        let value = serde_json::to_value(&report).expect("a report is JSON");
        return output::data(&format!("{value:#}\n"));
    }
    output::data(&output::escape(&report.text()))
}

/// An image that cannot be opened, with its code.
pub fn unreadable(error: &Error) -> Failure {
    match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::of(Code::Permission, error).hint("a device can be read by root, or by the group `disk`")
        }
        Error::Io { .. } | Error::Scratch { .. } => Failure::of(Code::Other, error),
        Error::Stream { .. } | Error::Foreign { .. } | Error::TooLong { .. } => {
            Failure::of(Code::Source, error)
        }
    }
}
