//! `nixflash inspect`: what is on an image or a card.

use crate::cli::exit::{Code, Failure};
use crate::cli::file::extracted;
use crate::cli::file::extracted::Target;
use crate::cli::outcome::Outcome;
use crate::cli::show::output;
use crate::cli::show::terminal::Voice;
use crate::image::read::open;
use crate::image::read::open::Error;
use crate::inspect;
use crate::inspect::{Machine, Report};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Show what is on an image or a card.
#[derive(clap::Args)]
pub struct Options {
    /// The image, compressed or not, a device, or / for this machine
    image: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Take the configuration that is embedded in it, into this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["extract", "json"])]
    extract_config: Option<PathBuf>,
    /// Take a file or directory off it: a path of the root, or of another
    /// partition as in 1:/config.txt
    #[arg(long, value_name = "PATH", conflicts_with = "json")]
    extract: Option<String>,
    /// Where what is extracted goes [default: standard output]
    #[arg(short, long, value_name = "FILE", requires = "extract")]
    output: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(options: &Options, voice: &Voice) -> Outcome {
    if options.image == Path::new("/") {
        return machine(options);
    }
    let image =
        open::open(&options.image, &crate::cli::caller::scratch()).map_err(|error| unreadable(&error))?;
    let name = options.image.display().to_string();
    voice.detail(&format!(
        "{name}: {} bytes, packed as {}",
        crate::stream::ReadAt::size(&image),
        image.layers.name()
    ));
    let force = options.force;
    if let Some(to) = &options.extract_config {
        let report = inspect::inspect(&image).map_err(|error| Failure::reading(&name, &error))?;
        let path = inspect::configuration(report.provenance.as_ref());
        if report.nixos.as_ref().is_some_and(|nixos| nixos.configuration.is_empty()) {
            return Err(Failure::new(
                Code::Source,
                format!("{name} carries no configuration: its {path} is empty"),
            )
            .hint("`nixflash compose --config DIR` puts one onto a card"));
        }
        return extracted::run(&image, (None, path), &Target { to: Some(to), force }, voice);
    }
    if let Some(path) = &options.extract {
        let to = options.output.as_deref().filter(|to| *to != Path::new("-"));
        return extracted::run(&image, extracted::place(path), &Target { to, force }, voice);
    }
    let report = inspect::inspect(&image).map_err(|error| Failure::reading(&name, &error))?;
    show(options, &report)
}

fn show(options: &Options, report: &Report) -> Outcome {
    if options.json {
        // cannot fail: the report has string keys only
        let value = serde_json::to_value(report).expect("a report is JSON");
        return output::data(&format!("{value:#}\n"));
    }
    output::data(&output::escape_lines(&report.text()))
}

/// Looks at the machine that nixflash runs on.
fn machine(options: &Options) -> Outcome {
    if options.extract.is_some() || options.extract_config.is_some() {
        return Err(Failure::new(Code::Usage, "/ is this machine: its files need no extraction"));
    }
    let report = inspect::inspect_machine(&Here);
    if report.nixos.is_none() && report.provenance.is_none() {
        return Err(Failure::new(Code::Source, "/ has no /nix/store: this machine has no NixOS"));
    }
    show(options, &report)
}

/// This machine.
struct Here;

/// Nothing where there is nothing.
fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        result => result.map(Some),
    }
}

impl Machine for Here {
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = absent(std::fs::File::open(path))? else { return Ok(None) };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if crate::ints::to_u64(bytes.len()) > limit {
            return Err(io::Error::other(format!("it has more than {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let Some(entries) = absent(std::fs::read_dir(path))? else { return Ok(Vec::new()) };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn link(&self, path: &str) -> io::Result<Option<String>> {
        match absent(std::fs::read_link(path)) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(None),
            found => Ok(found?.map(|target| target.to_string_lossy().into_owned())),
        }
    }

    fn lacks(&self, path: &str) -> bool {
        matches!(absent(std::fs::metadata(path)), Ok(None))
    }
}

/// An image that cannot be opened, with its code.
pub fn unreadable(error: &Error) -> Failure {
    match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::of(Code::Permission, error).hint("a device can be read by root, or by the group `disk`")
        }
        Error::Io { .. } | Error::Scratch { .. } => Failure::of(Code::Other, error),
        Error::Stream { .. } | Error::Foreign { .. } | Error::Container { .. } | Error::TooLong { .. } => {
            Failure::of(Code::Source, error)
        }
    }
}
