//! The file that an image goes to: whether it can be written, and what is in it before all is planned.

use crate::cli::exit::{Code, Failure};
use crate::cli::show::downloads::Quiet;
use crate::cli::show::failures::{copy_failed, refused};
use crate::cli::show::signals;
use crate::cli::show::terminal::Voice;
use crate::compose::{Found, MoveError, Plan};
use crate::format::disk::container::Kind;
use crate::image::write::complete_file;
use crate::image::write::complete_file::{Overwrite, Pending, RawFile};
use crate::image::write::packing::{Packing, Unoffered};
use crate::image::{CopyError, Progress};
use crate::sizes::show_bytes;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where an image goes, and how.
pub struct Output<'a> {
    /// Where; `-` for standard output.
    pub target: &'a Path,
    /// How it is packed.
    pub packing: Packing,
    /// Whether what is there is replaced.
    pub overwrite: Overwrite,
    /// The file of its hash.
    pub sha256: Option<PathBuf>,
    /// The file of its block map.
    pub bmap: Option<PathBuf>,
    /// The file with what Incus wants to know.
    pub incus: Option<PathBuf>,
}

/// What is wished of the file of an image.
pub struct Wishes {
    /// How it is packed; what its name says where nothing is said.
    pub format: Option<Packing>,
    /// The level of compression.
    pub level: Option<u32>,
    /// Whether an image that is there is replaced.
    pub force: bool,
    /// Whether its hash is written beside it.
    pub sums: bool,
    /// Whether its block map is.
    pub maps: bool,
    /// Whether what Incus wants to know is.
    pub incus: bool,
}

/// A file that has some of its contents.
pub struct Ground {
    /// It, under a temporary name.
    pub pending: Pending,
    /// The same, to write anywhere.
    pub raw: RawFile,
    /// Set by a signal.
    pub stop: Arc<AtomicBool>,
}

impl<'a> Output<'a> {
    /// What is wished, and whether it can be written.
    pub fn of(target: &'a Path, wishes: &Wishes) -> Result<Self, Failure> {
        let packing = packing(wishes, target)?;
        let overwrite = if wishes.force { Overwrite::Replace } else { Overwrite::Refuse };
        let beside = |suffix: &str| {
            let mut name = target.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let (sha256, bmap) = (wishes.sums.then(|| beside(".sha256")), wishes.maps.then(|| beside(".bmap")));
        let incus = wishes.incus.then(|| target.with_extension("incus.tar.xz"));
        if target != Path::new("-") {
            for path in
                [Some(target), sha256.as_deref(), bmap.as_deref(), incus.as_deref()].into_iter().flatten()
            {
                complete_file::check(path, overwrite).map_err(|error| unwritable(&error))?;
            }
        } else if sha256.is_some() || bmap.is_some() {
            return Err(Failure::new(
                Code::Usage,
                "--sha256 and --bmap need a file: there is no name for them beside -",
            ));
        } else if std::io::stdout().is_terminal() {
            return Err(Failure::new(
                Code::Usage,
                "standard output is a terminal: an image is not for reading",
            )
            .hint("pipe it to a program, or name a file with -o"));
        }
        Ok(Self { target, packing, overwrite, sha256, bmap, incus })
    }

    /// Whether the image is written all over at once, and not in its order.
    pub fn is_scattered(&self) -> bool {
        let is_stream = self.target == Path::new("-") || self.packing != Packing::Raw;
        !is_stream && self.sha256.is_none() && self.bmap.is_none()
    }

    /// Begins the file, under a temporary name.
    pub fn begin(&self) -> Result<Pending, Failure> {
        Pending::create(self.target, self.overwrite).map_err(|error| unwritable(&error))
    }

    /// Plans the image, and begins to write it on the way.
    pub fn land(
        &self,
        found: Found,
        quiet: Quiet<'_>,
        threads: usize,
        voice: &Voice,
    ) -> Result<(Plan, Option<Ground>), Failure> {
        quiet();
        let stop = signals::interrupt_flag()?;
        let pending = self.begin()?;
        let raw = RawFile::new(&pending).map_err(|error| unwritable(&error))?;
        let mut meter = voice.meter("unpack", found.nar_bytes(), &stop);
        let bytes = found.nar_bytes();
        let plan = found.land(&raw, threads, &mut |done| meter.at(done)).map_err(|error| unmoved(&error))?;
        meter.finish(bytes);
        voice.detail(&format!(
            "{} found their place while NARs were unpacked",
            show_bytes(plan.landed_bytes())
        ));
        Ok((plan, Some(Ground { pending, raw, stop })))
    }
}

/// What the image is to be, and whether all else that is wished goes with it.
fn packing(wishes: &Wishes, target: &Path) -> Result<Packing, Failure> {
    let packing = levelled(wishes, target)?;
    let usage = |what: &str| Failure::new(Code::Usage, what);
    let form = match packing {
        Packing::Container(form) => Some(form),
        _ => None,
    };
    if wishes.incus && form.is_none_or(|form| form.kind() != Kind::Qcow2) {
        return Err(usage("--incus: Incus takes the disk of a virtual machine as qcow2 only")
            .hint("name it with -o NAME.qcow2"));
    }
    let is_stream = target == Path::new("-");
    match form {
        Some(form) if is_stream && !form.is_stream() => {
            Err(usage("a packed qcow2 needs a file: its header is written last")
                .hint("--format qcow2-plain can go to standard output"))
        }
        Some(_) if wishes.maps => {
            Err(usage("--bmap: a block map is of a disk, and this image is a container of one"))
        }
        _ if wishes.incus && is_stream => {
            Err(usage("--incus needs a file: there is no name for its metadata beside -"))
        }
        _ => Ok(packing),
    }
}

/// What is said or the name says, at the level that is said.
fn levelled(wishes: &Wishes, target: &Path) -> Result<Packing, Failure> {
    let unoffered = |error: Unoffered| {
        Failure::new(Code::Usage, format!("{}: {error}", target.display())).hint(
            "name it .img, .zst, .xz, .gz, .qcow2, .vdi, .vhd, .vhdx or .vmdk; or say how with --format",
        )
    };
    let packing = match wishes.format {
        Some(packing) => packing,
        None => Packing::of_name(target).map_err(unoffered)?,
    };
    let Some(level) = wishes.level else { return Ok(packing) };
    let Some(levels) = packing.levels() else {
        let name = packing.name();
        return Err(Failure::new(Code::Usage, format!("--level: a {name} image is not compressed")));
    };
    if levels.contains(&level) {
        return Ok(packing.at(level));
    }
    let (first, last) = levels.into_inner();
    Err(Failure::new(Code::Usage, format!("--level {level}: expected {first} to {last} for this format")))
}

/// Contents that could not be brought to their place.
pub fn unmoved(error: &MoveError) -> Failure {
    match error {
        MoveError::Source(error) => refused(error),
        MoveError::Write { .. } => Failure::of(Code::Target, error),
        MoveError::Stopped => stopped(),
    }
}

/// What an interrupted run leaves.
pub const UNWRITTEN: &str = "nothing was written under the final name";

fn stopped() -> Failure {
    copy_failed(&CopyError::Interrupted, UNWRITTEN)
}

/// An output that cannot be made, with its code.
pub fn unwritable(error: &complete_file::Error) -> Failure {
    match error {
        complete_file::Error::Exists(_) => Failure::of(Code::Other, error).hint("replace it with --force"),
        complete_file::Error::Kind { .. } => Failure::of(Code::Usage, error),
        complete_file::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::of(Code::Permission, error)
        }
        complete_file::Error::Io { .. } => Failure::of(Code::Target, error),
    }
}
