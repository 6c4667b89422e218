//! What a closure and a board are composed of: options that `compose` and `write` share.

use super::embed::Provenance;
use super::pins::Pinning;
use super::stores;
use super::system;
use super::system::{System, unbuilt};
use super::transfers::Fetching;
use super::words::{bytes, switch};
use crate::board;
use crate::board::Board;
use crate::cli::exit::{Code, Failure};
use crate::cli::file;
use crate::cli::file::project;
use crate::cli::file::project::Project;
use crate::cli::file::stranger::Asked;
use crate::cli::outcome::Outcome;
use crate::cli::run::nix::How;
use crate::cli::show::downloads;
use crate::cli::show::downloads::Quiet;
use crate::cli::show::failures::refused;
use crate::cli::show::terminal::Voice;
use crate::compose;
use crate::compose::{
    BootRequest, BootSet, Channels, Check, Found, Given, Plan, Record, Report, Request, RootSize,
};
use crate::format::nix::store_path::StorePath;
use crate::store;
use crate::store::{Remote, Store};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Where a closure, a board and its firmware come from.
#[derive(clap::Args)]
pub struct Inputs {
    /// A board profile of your own instead of a board
    #[arg(id = "board_file", long = "board", value_name = "FILE.toml")]
    pub board_file: Option<PathBuf>,
    /// Where its closure is: https://CACHE, ssh-ng://HOST, file://CACHE,
    /// daemon, export:FILE, a store directory, a registration or path-info
    /// --json; several are asked in order [default: this machine's]
    #[arg(long, value_name = "STORE")]
    pub store: Vec<String>,
    /// An earlier system that stays a generation of the profile and an entry
    /// of the menu; several from the oldest
    #[arg(long, value_name = "PATH")]
    pub generation: Vec<String>,
    /// Trust what this key has signed, NAME:BASE64; beside those of
    /// cache.nixos.org and of nix.conf
    #[arg(long, value_name = "KEY")]
    pub trusted_key: Vec<String>,
    /// Trust every http(s) and ssh-ng store, signed or not
    #[arg(long)]
    pub no_check_sigs: bool,
    #[command(flatten)]
    pub fetching: Fetching,
    /// The directory that a registration given with --store describes
    #[arg(long, value_name = "DIR")]
    pub store_dir: Option<PathBuf>,
    /// A word that identifiers also derive from: cards of one system with
    /// different words can be in one machine
    #[arg(long, value_name = "WORD")]
    pub id_seed: Option<String>,
    /// Never have Nix build a flake: only evaluate it, its closure is in the
    /// stores [default where --store names others than this machine's]
    #[arg(long)]
    pub no_build: bool,
    /// Firmware: a directory (a package, or the root of a store), or a store
    /// path, which the stores have
    #[arg(long, value_name = "PATH")]
    pub firmware: Vec<PathBuf>,
    /// Add a line, or the lines of a file, to the board's config.txt
    #[arg(long, value_name = "FILE|LINE")]
    pub config_txt: Vec<String>,
    #[command(flatten)]
    pub pinning: Pinning,
    /// Take what is not given here from this nixflash.toml; or the directory
    /// that it is in
    #[arg(long, value_name = "FILE")]
    pub project: Option<PathBuf>,
    /// Do not use the nixflash.toml of the working directory
    #[arg(long, conflicts_with = "project")]
    pub no_project: bool,
    /// Length of the FAT with boot files [default: of the profile]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub boot_size: Option<u64>,
    /// Let the manifest on the card name the stores, without credentials;
    /// the bits then depend on where the system came from
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_name = "yes|no", value_parser = switch)]
    pub record_stores: Option<bool>,
    /// Threads that read, hash and pack or unpack [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    #[command(flatten, next_help_heading = "Provenance")]
    pub provenance: Provenance,
}

/// Inodes that stay free on the root of an image, for what the first boot makes.
const FREE_INODES: u32 = 16_384;

impl Inputs {
    /// Finds the toplevel that words name, those of a relative path from a directory on; Nix may have to build it.
    pub fn system(&self, words: &str, from: &Path, voice: &Voice) -> Result<System, Failure> {
        // What Nix builds lies in this machine's store: of no use where that is not asked.
        let is_own =
            |store: &String| ["auto", "daemon", "/"].contains(&store.as_str()) || store.starts_with("unix:");
        let asks_own = self.store.is_empty() || self.store.iter().any(is_own);
        let how = if asks_own && !self.no_build { How::Build } else { How::Evaluate };
        system::find(words, from, how, voice)
    }

    /// The project file that was named, or else one that is asked for in this way.
    pub fn find_project(&self, otherwise: Asked<'_>, voice: &Voice) -> Result<Option<Project>, Failure> {
        match &self.project {
            Some(file) => project::find(Asked::ByName(file), voice),
            None if self.no_project => Ok(None),
            None => project::find(otherwise, voice),
        }
    }

    /// Takes from a project file what no option says.
    pub fn adopt(&mut self, project: &mut Project) {
        fn unless_given<T>(given: &mut Vec<T>, other: &mut Vec<T>) {
            if given.is_empty() {
                given.append(other);
            }
        }
        unless_given(&mut self.store, &mut project.stores);
        unless_given(&mut self.trusted_key, &mut project.trusted_keys);
        unless_given(&mut self.firmware, &mut project.firmware);
        self.pinning.adopt(project.channel.take(), &project.directory);
        unless_given(&mut self.config_txt, &mut project.config_txt);
        self.boot_size = self.boot_size.or(project.boot_size);
        self.record_stores = self.record_stores.or(project.record_stores);
        self.fetching.adopt(project);
        self.provenance.adopt(project);
    }

    /// Plans an image, and shows what has to be fetched for it.
    pub fn plan(
        &self,
        board: Option<&str>,
        system: &System,
        root_size: RootSize,
        voice: &Voice,
    ) -> Result<Plan, Failure> {
        let plan = |found: Found, _: Quiet<'_>| found.plan().map_err(|error| refused(&error));
        self.plan_by((board, system), root_size, voice, plan)
    }

    /// Finds the closure of an image and has it planned by `plan`; shows what has to be fetched, until that ends or asks for
    /// quiet.
    pub fn plan_by<T>(
        &self,
        (board, system): (Option<&str>, &System),
        root_size: RootSize,
        voice: &Voice,
        plan: impl FnOnce(Found, Quiet<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let record = self.provenance.record(voice)?;
        let remote = self.remote(voice)?;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let shown = scope.spawn(|| downloads::watch(&remote.fetched, voice, &done));
            let quiet = || {
                done.store(true, Ordering::Relaxed);
                // One that panicked has said so itself.
                drop(shown.join());
            };
            let request = self.request((board, system), root_size, &remote, (record, voice));
            let found = request.and_then(|request| {
                compose::find(request)
                    .map_err(|error| unbuilt(system, &error).unwrap_or_else(|| refused(&error)))
            });
            let planned = found.and_then(|found| plan(found, Box::new(quiet)));
            done.store(true, Ordering::Relaxed);
            planned
        })
    }

    /// Holds a system against a board, and shows what has to be fetched for it.
    pub fn check(
        &self,
        board: Option<&str>,
        (system, from): (&str, &Path),
        voice: &Voice,
    ) -> Result<Report, Failure> {
        let remote = self.remote(voice)?;
        let system = self.system(system, from, voice)?;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| downloads::watch(&remote.fetched, voice, &done));
            let request = (Record::default(), voice);
            let request = self.request((board, &system), RootSize::Free(0), &remote, request);
            let report = request.and_then(|request| {
                let Request { board, system, older, stores, firmware, channels, .. } = request;
                compose::check(Check { board, system, older, stores, firmware, channels })
                    .map_err(|error| refused(&error))
            });
            done.store(true, Ordering::Relaxed);
            report
        })
    }

    /// The systems that were there before.
    fn older(&self, voice: &Voice) -> Result<Vec<StorePath>, Failure> {
        self.generation.iter().map(|path| Ok(self.system(path, Path::new(""), voice)?.path)).collect()
    }

    /// The boot files of a board, for what is pinned of them.
    pub fn boot_set(&self, board: Option<&str>, voice: &Voice) -> Result<(Board, BootSet), Failure> {
        let (board, _) = self.board(board)?;
        let remote = self.remote(voice)?;
        let auto = ["auto".to_owned()];
        let specs = if self.store.is_empty() { &auto[..] } else { &self.store };
        let stores: Result<Vec<Box<dyn Store>>, _> =
            specs.iter().map(|spec| store::open(spec, self.store_dir.as_deref(), &remote)).collect();
        let stores = match stores {
            Err(_) if self.store.is_empty() && may_lack_stores(&self.firmware, &self.pinning) => Vec::new(),
            stores => stores.map_err(|error| refused(&error.into()))?,
        };
        let channels = self.pinning.channels(&remote)?;
        let set = boot_files(&board, &self.firmware, stores, channels)?;
        Ok((board, set))
    }

    /// How stores that are far away are used.
    fn remote(&self, voice: &Voice) -> Result<Remote, Failure> {
        stores::remote((&self.store, &self.trusted_key), self.no_check_sigs, &self.fetching, voice)
    }

    /// What to compose.
    fn request(
        &self,
        (board, system): (Option<&str>, &System),
        root_size: RootSize,
        remote: &Remote,
        (record, voice): (Record, &Voice),
    ) -> Result<Request, Failure> {
        let (board, own) = self.board(board)?;
        let mut specs = self.store.clone();
        if specs.is_empty() {
            specs.push(system.store.clone().unwrap_or_else(|| "auto".to_owned()));
        }
        let stores: Result<Vec<Box<dyn Store>>, _> =
            specs.iter().map(|spec| store::open(spec, self.store_dir.as_deref(), remote)).collect();
        Ok(Request {
            board,
            system: system.path.clone(),
            older: self.older(voice)?,
            stores: stores.map_err(|error| refused(&error.into()))?,
            firmware: self.firmware.iter().map(|path| given(path)).collect(),
            channels: self.pinning.channels(remote)?,
            root_size,
            boot_size: self.boot_size,
            free_inodes: FREE_INODES,
            id_seed: self.id_seed.clone(),
            epoch: epoch()?,
            record: Record {
                profile: own.profile,
                config_txt: own.config_txt,
                stores: (self.record_stores == Some(true)).then(|| stores::recorded(&specs)),
                ..record
            },
        })
    }

    /// Refuses a board that there is not, before anything else is asked for.
    pub fn ensure_board(&self, name: Option<&str>) -> Outcome {
        self.board(name).map(drop)
    }

    /// The board, with the lines of its config.txt that the user adds, and what a manifest records of both.
    fn board(&self, name: Option<&str>) -> Result<(Board, Record), Failure> {
        let (mut board, profile) = match &self.board_file {
            Some(file) => file::board::read(file).map(|(board, text)| (board, Some(text)))?,
            None => {
                let found = board::find(name.unwrap_or_default());
                (found.map_err(|error| Failure::of(Code::Usage, &error))?, None)
            }
        };
        let config_txt = file::board::add_config_txt(&mut board, &self.config_txt)?;
        Ok((board, Record { profile, config_txt, ..Record::default() }))
    }

    /// How many threads work.
    pub fn workers(&self) -> usize {
        match self.threads {
            Some(threads) => usize::from(threads),
            None => crate::workers::cores(),
        }
    }

    /// The directories of this machine that are read.
    pub fn reads(&self, system: &System) -> Vec<PathBuf> {
        let file = |spec: &String| {
            let place = spec.strip_prefix("file://").or_else(|| spec.strip_prefix("export:"));
            PathBuf::from(place.unwrap_or(spec))
        };
        let stores = self.store.iter().map(file);
        let mut reads: Vec<PathBuf> =
            stores.chain(self.store_dir.clone()).chain(self.firmware.clone()).collect();
        reads.push(system.reads.clone());
        reads
    }
}

/// Firmware as it was given: a store path is one of the stores, not a directory of this machine.
pub fn given(path: &Path) -> Given {
    match path.to_str().map(|text| StorePath::from_absolute(text.trim_end_matches('/'))) {
        Some(Ok(path)) => Given::Path(path),
        _ => Given::Directory(path.to_owned()),
    }
}

/// Whether boot files can be had without a store of this machine: in what --firmware names, or in a channel.
pub fn may_lack_stores(firmware: &[PathBuf], pinning: &Pinning) -> bool {
    !firmware.is_empty() || pinning.has_channel()
}

/// Finds what a board's packages bring.
pub fn boot_files(
    board: &Board,
    firmware: &[PathBuf],
    stores: Vec<Box<dyn Store>>,
    channels: Option<Channels>,
) -> Result<BootSet, Failure> {
    let firmware = firmware.iter().map(|path| given(path)).collect();
    compose::boot_set(BootRequest { board: board.clone(), stores, firmware, channels })
        .map_err(|error| refused(&error))
}

/// The time that the image carries: `SOURCE_DATE_EPOCH`, else 1, as the store has it.
#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
pub fn epoch() -> Result<u32, Failure> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => Ok(1),
        Ok(text) => text.trim().parse().map_err(|_| {
            Failure::new(
                Code::Usage,
                format!("SOURCE_DATE_EPOCH is {text:?}, expected seconds since 1970 below 2^32"),
            )
        }),
    }
}
