//! `nixflash compose`: an image out of a closure.

use crate::base_n::to_base16;
use crate::board::{Role, TableKind};
use crate::cli::exit::{Code, Failure};
use crate::cli::file::output_image::{Ground, Output, UNWRITTEN, Wishes, unmoved, unwritable};
use crate::cli::file::project;
use crate::cli::file::project::Project;
use crate::cli::file::stranger::Asked;
use crate::cli::option::system_source::Inputs;
use crate::cli::option::words::{bytes, switch};
use crate::cli::outcome::Outcome;
use crate::cli::show::failures::{copy_failed, refused};
use crate::cli::show::output;
use crate::cli::show::plan_text;
use crate::cli::show::signals;
use crate::cli::show::terminal::Voice;
use crate::compose::{Plan, RootSize};
use crate::format::disk::container::vhd;
use crate::format::file::bmap::{BlockMap, Range};
use crate::format::file::incus::Machine;
use crate::image::container;
use crate::image::container::Form;
use crate::image::write::beside;
use crate::image::write::beside::{Hashed, HashedSink};
use crate::image::write::block_map;
use crate::image::write::complete_file;
use crate::image::write::complete_file::{Pending, RawFile};
use crate::image::write::pack;
use crate::image::write::packing::Packing;
use crate::image::write::raw::Raw;
use crate::image::write::xz;
use crate::image::{Progress, Sink, SinkError};
use crate::sizes::show_bytes;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Compose an image of a built NixOS system.
///
/// What is not said here is taken from the nixflash.toml of the working
/// directory, if there is one.
#[derive(clap::Args)]
pub struct Options {
    /// The board: see `nixflash boards`
    #[arg(conflicts_with = "board_file")]
    board: Option<String>,
    /// The toplevel: a store path, a link to one such as ./result, or a flake
    /// with its host, as in .#pi: Nix builds it
    #[arg(long, value_name = "SYSTEM")]
    system: Option<String>,
    #[command(flatten)]
    inputs: Inputs,
    /// The image to make, or - for standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to make [default: from the name; raw for -]
    #[arg(long, value_enum, value_name = "HOW")]
    format: Option<Packing>,
    /// Compression level: 1-19 for zst and qcow2-zstd, 0-9 for xz and gz, 1-9
    /// for qcow2 and vmdk
    #[arg(long, value_name = "N")]
    level: Option<u32>,
    /// Length of the whole image, such as 8GiB; the root fills it
    #[arg(long, value_name = "SIZE", value_parser = bytes, conflicts_with = "free")]
    size: Option<u64>,
    /// Free space on a root that is otherwise as small as can be
    /// [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    free: Option<u64>,
    /// Also write FILE.sha256
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_name = "yes|no", value_parser = switch)]
    sha256: Option<bool>,
    /// Also write FILE.bmap
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_name = "yes|no", value_parser = switch)]
    bmap: Option<bool>,
    /// Also write NAME.incus.tar.xz beside NAME.qcow2: `incus image import` takes
    /// both
    #[arg(long)]
    incus: bool,
    /// Replace an image that is there
    #[arg(short, long)]
    force: bool,
    /// Print the plan and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// Free space on a root that is as small as can be.
const FREE: u64 = 64 << 20;

impl Options {
    /// Whether its hash is wanted beside it.
    fn sums(&self) -> bool {
        self.sha256 == Some(true)
    }

    /// Whether its block map is.
    fn maps(&self) -> bool {
        self.bmap == Some(true)
    }

    /// What is wished of the file of the image.
    fn wishes(&self) -> Wishes {
        let (sums, maps) = (self.sums(), self.maps());
        let (force, incus) = (self.force, self.incus);
        Wishes { format: self.format, level: self.level, force, sums, maps, incus }
    }

    /// Takes from a project file what no option says.
    fn adopt(&mut self, mut project: Project) {
        if self.board.is_none() && self.inputs.board_file.is_none() {
            (self.board, self.inputs.board_file) = (project.board.take(), project.board_file.take());
        }
        if self.size.is_none() && self.free.is_none() {
            (self.size, self.free) = (project.size, project.free);
        }
        if self.format.is_none() && self.output.is_none() {
            self.format = project.format;
            self.level = self.level.or(project.level);
        }
        self.output = self.output.take().or_else(|| project.output.take());
        self.sha256 = self.sha256.or(project.sha256);
        self.bmap = self.bmap.or(project.bmap);
        self.inputs.adopt(&mut project);
    }
}

/// Something that must be said was not.
fn unsaid(what: &str, hint: &str) -> Failure {
    Failure::new(Code::Usage, format!("no {what}"))
        .hint(format!("{hint}, or write it into {}", project::NAME))
}

/// Runs the command.
pub fn run(mut options: Options, voice: &Voice) -> Outcome {
    let mut from = PathBuf::new();
    let mut words = options.system.take();
    if let Some(mut project) = options.inputs.find_project(Asked::ByNobody, voice)? {
        if words.is_none() {
            (words, from) = (project.system.take(), project.directory.clone());
        }
        options.adopt(project);
    }
    let options = &options;
    if options.board.is_none() && options.inputs.board_file.is_none() {
        return Err(unsaid("board", "name one of those that `nixflash boards` lists"));
    }
    options.inputs.ensure_board(options.board.as_deref())?;
    let words = words.ok_or_else(|| unsaid("system", "name the toplevel with --system"))?;
    if options.output.is_none() && !options.dry_run {
        return Err(unsaid("output", "name the image with -o, or print the plan with --dry-run"));
    }
    let root_size = options.size.map_or(RootSize::Free(options.free.unwrap_or(FREE)), RootSize::Image);
    // Before any work: what cannot be written need not be planned.
    let output = match &options.output {
        Some(target) if !options.dry_run => Some(Output::of(target, &options.wishes())?),
        _ => None,
    };
    let system = options.inputs.system(&words, &from, voice)?;
    let (plan, ground) =
        options.inputs.plan_by((options.board.as_deref(), &system), root_size, voice, |found, quiet| {
            match output.as_ref().filter(|output| output.is_scattered() && found.is_packed()) {
                Some(output) => output.land(found, quiet, options.inputs.workers(), voice),
                None => Ok((found.plan().map_err(|error| refused(&error))?, None)),
            }
        })?;
    for warning in &plan.summary.warnings {
        voice.say(&format!("warning: {warning}"));
    }
    let Some(output) = output else { return print(&plan, options.json) };
    options.inputs.pinning.pin(&plan.pins, voice)?;
    write(&plan, &output, ground, options, voice)?;
    let target = output.target;
    if options.json {
        print(&plan, true)?;
    }
    let (bytes, mapped) = (show_bytes(plan.summary.image_bytes), show_bytes(plan.summary.mapped_bytes));
    let next = match target.to_str() {
        Some("-") => String::new(),
        _ => format!("; look at it with: nixflash inspect {}", target.display()),
    };
    voice.say(&format!("{}: {bytes}, {mapped} of it used{next}", target.display()));
    Ok(())
}

fn print(plan: &Plan, json: bool) -> Outcome {
    if json {
        // cannot fail: the summary has string keys only
        let value = serde_json::to_value(&plan.summary).expect("a summary is JSON");
        return output::data(&format!("{value:#}\n"));
    }
    output::data(&output::escape_lines(&plan_text::text(&plan.summary)))
}

/// Writes the image and what is wanted beside it. Nothing appears before all of it is complete.
fn write(
    plan: &Plan,
    output: &Output<'_>,
    ground: Option<Ground>,
    options: &Options,
    voice: &Voice,
) -> Outcome {
    let stop = match &ground {
        Some(ground) => Arc::clone(&ground.stop),
        None => signals::interrupt_flag()?,
    };
    ensure_holds(plan, output)?;
    let job = Job { plan, packing: output.packing, options, voice, stop, threads: options.inputs.workers() };
    let target = output.target;
    if target == Path::new("-") {
        return job.stream(Box::new(std::io::stdout()), "standard output");
    }
    let (pending, texts) = if output.is_scattered() {
        let (pending, raw) = match ground {
            Some(ground) => (ground.pending, ground.raw),
            None => {
                let pending = output.begin()?;
                let raw = RawFile::new(&pending).map_err(|error| unwritable(&error))?;
                (pending, raw)
            }
        };
        job.scatter(&raw)?;
        (pending, Beside::default())
    } else {
        let pending = output.begin()?;
        let texts = job.file(&pending, target)?;
        (pending, texts)
    };
    pending.commit().map_err(|error| unwritable(&error))?;
    for (path, text) in [(&output.sha256, texts.sha256), (&output.bmap, texts.bmap)] {
        if let (Some(path), Some(text)) = (path, text) {
            complete_file::write_small(path, text, output.overwrite).map_err(|error| unwritable(&error))?;
        }
    }
    match &output.incus {
        Some(path) => write_incus(plan, path, output),
        None => Ok(()),
    }
}

/// Whether the image can be of the form that is wanted.
fn ensure_holds(plan: &Plan, output: &Output<'_>) -> Outcome {
    let Packing::Container(form) = output.packing else { return Ok(()) };
    let len = plan.summary.image_bytes;
    let unit = match (form, plan.summary.table) {
        // A backup of a GPT is at the end of the disk, which would be elsewhere.
        (Form::Vhd, TableKind::Gpt) => vhd::UNIT,
        _ => 512,
    };
    if !len.is_multiple_of(unit) {
        let what = format!(
            "--size: the image would have {len} bytes, expected a multiple of {unit} for this format"
        );
        return Err(Failure::new(Code::Usage, what));
    }
    if output.incus.is_some() && !plan.summary.partitions.iter().any(|part| part.role == Role::Esp) {
        let board = &plan.summary.board;
        let what = format!("--incus: a virtual machine of Incus has UEFI, and the board {board} has no ESP");
        return Err(Failure::new(Code::Usage, what).hint("compose for uefi-x86_64 or uefi-aarch64"));
    }
    Ok(())
}

/// Writes what Incus wants to know.
fn write_incus(plan: &Plan, path: &Path, output: &Output<'_>) -> Outcome {
    let architecture = plan.platform.split('-').next().unwrap_or_default();
    let machine = Machine { architecture, release: &plan.summary.nixos_version };
    let archive = xz::small(&machine.archive())
        .map_err(|error| Failure::new(Code::Other, format!("cannot pack {}: {error}", path.display())))?;
    complete_file::write_small(path, archive, output.overwrite).map_err(|error| unwritable(&error))
}

/// What goes beside an image.
#[derive(Default)]
struct Beside {
    sha256: Option<String>,
    bmap: Option<String>,
}

struct Job<'a> {
    plan: &'a Plan,
    packing: Packing,
    options: &'a Options,
    voice: &'a Voice,
    stop: Arc<AtomicBool>,
    threads: usize,
}

/// The text of a block map.
fn bmap_text(runs: block_map::Runs) -> String {
    let range =
        |run: &block_map::Run| Range { from: run.from, to: run.to, sha256: Some(to_base16(&run.sha256)) };
    let ranges = runs.runs.iter().map(range).collect();
    BlockMap { image_len: runs.image_len, block_len: block_map::BLOCK, ranges }.text()
}

impl Job<'_> {
    /// Packs the image into a stream.
    fn stream(&self, out: Box<dyn Write + Send + '_>, name: &str) -> Outcome {
        let sink = self.pack(out, name)?;
        self.copy(sink)
    }

    fn pack<'a>(&self, out: Box<dyn Write + Send + 'a>, name: &str) -> Result<Box<dyn Sink + 'a>, Failure> {
        let threads = u32::try_from(self.threads).unwrap_or(u32::MAX);
        pack::sink(self.packing, out, name, &self.plan.disk(), threads)
            .map_err(|error| copy_failed(&error.into(), UNWRITTEN))
    }

    /// A container in a file. One that is not written in order is hashed when it is complete.
    fn container(&self, form: Form, pending: &Pending, name: &str) -> Result<Option<String>, Failure> {
        let threads = u32::try_from(self.threads).unwrap_or(u32::MAX);
        let handle = pending.handle().map_err(|error| unwritable(&error))?;
        let failed = |error: SinkError| copy_failed(&error.into(), UNWRITTEN);
        let disk = self.plan.disk();
        let places = container::places(form, name, &disk).map_err(failed)?;
        if let Some(places) = places.filter(|_| !self.options.sums()) {
            let raw = RawFile::inside(pending, places).map_err(|error| unwritable(&error))?;
            self.scatter(&raw)?;
            return Ok(None);
        }
        if !self.options.sums() || !form.is_stream() {
            self.copy(container::into_file(form, handle, name, &disk, threads).map_err(failed)?)?;
            let hash =
                || beside::hash_file(pending.file()).map_err(|error| Failure::of(Code::Target, &error));
            return self.options.sums().then(hash).transpose();
        }
        let (inner, hash) = HashedSink::new(Box::new(Raw::new(handle, name)));
        self.copy(container::into_sink(form, Box::new(inner), name, &disk, threads).map_err(failed)?)?;
        Ok(Some(beside::hex(&hash)))
    }

    /// Packs the image into a file, and gives what goes beside it.
    fn file(&self, pending: &Pending, target: &Path) -> Result<Beside, Failure> {
        let name = target.display().to_string();
        let base = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let sums = |hash: &str| format!("{hash}  {base}\n");
        if let Packing::Container(form) = self.packing {
            let sha256 = self.container(form, pending, &name)?.map(|hash| sums(&hash));
            return Ok(Beside { sha256, bmap: None });
        }
        let handle = pending.handle().map_err(|error| unwritable(&error))?;
        let mut beside = Beside::default();
        let (sink, hash): (Box<dyn Sink>, _) = if self.packing == Packing::Raw {
            let (sink, hash) = HashedSink::new(Box::new(Raw::new(handle, &name)));
            (Box::new(sink), hash)
        } else {
            let (out, hash) = Hashed::new(handle);
            (self.pack(Box::new(out), &name)?, hash)
        };
        if self.options.maps() {
            let (sink, map) = block_map::Mapped::new(sink);
            self.copy(Box::new(sink))?;
            beside.bmap = Some(bmap_text(block_map::runs(&map)));
        } else {
            self.copy(sink)?;
        }
        beside.sha256 = self.options.sums().then(|| sums(&beside::hex(&hash)));
        Ok(beside)
    }

    fn copy(&self, sink: Box<dyn Sink + '_>) -> Outcome {
        let mut meter = self.voice.meter("compose", self.plan.summary.image_bytes, &self.stop);
        let moved_bytes =
            self.plan.copy(sink, self.threads, &mut meter).map_err(|error| copy_failed(&error, UNWRITTEN))?;
        meter.finish(moved_bytes);
        Ok(())
    }

    /// Writes a raw file all over at once.
    fn scatter(&self, out: &RawFile) -> Outcome {
        let mut meter = self.voice.meter("compose", self.plan.summary.mapped_bytes, &self.stop);
        let result = self.plan.write_raw(out, self.threads, &mut |done| meter.at(done));
        result.map_err(|error| unmoved(&error))?;
        meter.finish(self.plan.summary.mapped_bytes);
        Ok(())
    }
}
