//! Images as the command line names them.

use super::network;
use crate::cli::exit::{Code, Failure};
use crate::cli::show::failures::DISTRUSTED;
use crate::format::file::sums;
use crate::net;
use crate::net::Netrc;
use crate::source;
use crate::source::{Error, Opened, Tolerance};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What an image is checked with.
#[derive(clap::Args)]
pub struct Sidecars {
    /// What the SHA-256 of the image file must be
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub sha256: Option<String>,
    /// A block map of the image, as bmaptool makes
    #[arg(long, value_name = "FILE")]
    pub bmap: Option<PathBuf>,
    /// Do not use FILE.sha256 and FILE.bmap that stand beside the image
    #[arg(long)]
    pub no_sidecars: bool,
}

fn sha256(text: &str) -> Result<String, String> {
    sums::parse_sha256(text, "").map_err(|_| "expected 64 digits of base 16".to_owned())
}

/// Opens an image.
pub fn open(
    spec: &str,
    sidecars: &Sidecars,
    tolerance: Tolerance,
    threads: usize,
    stop: &Arc<AtomicBool>,
) -> Result<Opened, Failure> {
    if spec == "-" && std::io::stdin().is_terminal() {
        return Err(Failure::new(Code::Usage, "standard input is a terminal: there is no image in it")
            .hint("pipe an image into it, or name a file"));
    }
    let options = source::Options {
        sha256: sidecars.sha256.as_deref(),
        bmap: sidecars.bmap.as_deref(),
        beside: !sidecars.no_sidecars,
        tolerance,
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
        client: network::client(stop, Netrc::default()),
        interrupted: Arc::clone(stop),
    };
    source::open(spec, &options).map_err(|error| unreadable(&error))
}

/// The files of this machine that an image is read from.
pub fn reads(spec: &str) -> Vec<PathBuf> {
    if spec == "-" || source::is_address(spec) { Vec::new() } else { vec![PathBuf::from(spec)] }
}

fn unreadable(error: &Error) -> Failure {
    match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::of(Code::Permission, error)
        }
        Error::Http { source: net::Error::Certificate(_), .. } => {
            Failure::of(Code::Other, error).hint(DISTRUSTED)
        }
        Error::Short { .. } => Failure::of(Code::Source, error)
            .hint("download it again; or, if half of it is meant, add --partial"),
        Error::Unknown { .. } => {
            Failure::of(Code::Source, error).hint("if its bytes are meant, add --raw-anyway")
        }
        error if error.is_bad_source() => Failure::of(Code::Source, error),
        _ => Failure::of(Code::Other, error),
    }
}
