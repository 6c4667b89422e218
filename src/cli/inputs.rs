//! What a closure and a board are composed of: options that `compose` and `write` share.

use super::boards;
use super::embed::Provenance;
use super::exit::{Code, Failure};
use super::fetching::Fetching;
use super::flake::How;
use super::lock;
use super::project::{self, Asked, Project};
use super::system::{self, System};
use super::ui::Voice;
use crate::board::{self, Board};
use crate::compose::{self, Channels, Check, Given, Plan, Record, Report, Request, RootSize};
use crate::format::store_path::StorePath;
use crate::image::{CopyError, Progress, SourceError};
use crate::net::Client;
use crate::num::{parse_bytes, show_bytes};
use crate::store::channel::Channel;
use crate::store::{self, Fetched, Keys, Remote, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
    /// Take firmware from a channel, such as nixos-25.11 or its address; what
    /// was taken is pinned in nixflash.lock
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Option<String>,
    /// The lock file [default: nixflash.lock beside nixflash.toml or here]
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// Look into the channel again, whatever is pinned
    #[arg(long)]
    pub update_lock: bool,
    /// Take what is not given here from this nixflash.toml; or the directory
    /// that it is in
    #[arg(long, value_name = "FILE")]
    pub project: Option<PathBuf>,
    /// Do not use the nixflash.toml of the working directory
    #[arg(long, conflicts_with = "project")]
    pub no_project: bool,
    /// The directory of the project file, empty without one.
    #[arg(skip)]
    pub directory: PathBuf,
    /// Length of the FAT with boot files [default: of the profile]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub boot_size: Option<u64>,
    /// Let the manifest on the card name the stores, without credentials;
    /// the bits then depend on where the system came from
    #[arg(long)]
    pub record_stores: bool,
    /// Threads that read, hash and pack or unpack [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    #[command(flatten, next_help_heading = "Provenance")]
    pub provenance: Provenance,
}

/// Parses a length.
pub fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "expected a length such as 512MiB or 8GiB".to_owned())
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
        self.channel = self.channel.take().or_else(|| project.channel.take());
        self.boot_size = self.boot_size.or(project.boot_size);
        self.directory.clone_from(&project.directory);
    }

    /// The lock file.
    fn lock_file(&self) -> PathBuf {
        self.lock.clone().unwrap_or_else(|| self.directory.join(lock::NAME))
    }

    /// The channel that firmware is taken from, with what is pinned of it.
    fn channels(&self, remote: &Remote) -> Result<Option<Channels>, Failure> {
        let Some(words) = &self.channel else {
            if self.update_lock || self.lock.is_some() {
                let message = "--lock and --update-lock are of what a channel has: there is no --channel";
                return Err(Failure::new(Code::Usage, message));
            }
            return Ok(None);
        };
        let channel = Channel::new(words, remote).map_err(|error| Failure::of(Code::Usage, &error))?;
        if self.update_lock {
            return Ok(Some(Channels { channel, pins: Vec::new() }));
        }
        let pins = lock::read(&self.lock_file())?;
        if let Some(pin) = pins.iter().find(|pin| pin.channel != channel.address()) {
            let (file, other) = (self.lock_file(), &pin.channel);
            let message = format!("{}: pins what {other} had, not {}", file.display(), channel.address());
            return Err(Failure::new(Code::Usage, message).hint("pin anew with --update-lock"));
        }
        Ok(Some(Channels { channel, pins }))
    }

    /// Pins what a plan took from a channel.
    pub fn pin(&self, plan: &Plan, voice: &Voice) -> Result<(), Failure> {
        if plan.pins.is_empty() {
            return Ok(());
        }
        let file = self.lock_file();
        // Of a lock file that is made anew, only what is of another channel goes.
        let mut old =
            if self.update_lock { lock::read(&file).unwrap_or_default() } else { lock::read(&file)? };
        old.retain(|pin| plan.pins.iter().all(|new| new.channel == pin.channel));
        match lock::merged(&old, &plan.pins) {
            Some(pins) => lock::write(&file, &pins, voice),
            None => Ok(()),
        }
    }

    /// Plans an image, and shows what has to be fetched for it.
    pub fn plan(
        &self,
        board: Option<&str>,
        system: &System,
        root_size: RootSize,
        voice: &Voice,
    ) -> Result<Plan, Failure> {
        let record = self.provenance.record(voice)?;
        let remote = self.remote(voice)?;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| watch(&remote.fetched, voice, &done));
            let request = self.request((board, system), root_size, &remote, (record, voice));
            let plan = request.and_then(|request| {
                compose::compose(request)
                    .map_err(|error| unbuilt(system, &error).unwrap_or_else(|| refused(&error)))
            });
            done.store(true, Ordering::Relaxed);
            plan
        })
    }

    /// Holds a system against a board, and shows what has to be fetched for it.
    pub fn check(&self, board: Option<&str>, system: &str, voice: &Voice) -> Result<Report, Failure> {
        let remote = self.remote(voice)?;
        let system = self.system(system, Path::new(""), voice)?;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| watch(&remote.fetched, voice, &done));
            let request = (Record::default(), voice);
            let request = self.request((board, &system), RootSize::Free(0), &remote, request);
            let report = request.and_then(|request| {
                let Request { board, system, older, stores, .. } = request;
                compose::check(Check { board, system, older, stores }).map_err(|error| refused(&error))
            });
            done.store(true, Ordering::Relaxed);
            report
        })
    }

    /// The systems that were there before.
    fn older(&self, voice: &Voice) -> Result<Vec<StorePath>, Failure> {
        self.generation.iter().map(|path| Ok(self.system(path, Path::new(""), voice)?.path)).collect()
    }

    /// How caches over http are used.
    fn remote(&self, voice: &Voice) -> Result<Remote, Failure> {
        remote((&self.store, &self.trusted_key), self.no_check_sigs, &self.fetching, voice)
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
            channels: self.channels(remote)?,
            root_size,
            boot_size: self.boot_size,
            free_inodes: FREE_INODES,
            id_seed: self.id_seed.clone(),
            epoch: epoch()?,
            record: Record {
                profile: own.profile,
                config_txt: own.config_txt,
                stores: self.record_stores.then(|| recorded(&specs)),
                ..record
            },
        })
    }

    /// The board, with the lines of its config.txt that the user adds, and what a manifest records of both.
    fn board(&self, name: Option<&str>) -> Result<(Board, Record), Failure> {
        let (mut board, profile) = match &self.board_file {
            Some(file) => boards::read(file).map(|(board, text)| (board, Some(text)))?,
            None => {
                let found = board::find(name.unwrap_or_default());
                (found.map_err(|error| Failure::of(Code::Usage, &error))?, None)
            }
        };
        let config_txt = boards::add_config_txt(&mut board, &self.config_txt)?;
        Ok((board, Record { profile, config_txt, ..Record::default() }))
    }

    /// How many threads work.
    pub fn workers(&self) -> usize {
        match self.threads {
            Some(threads) => usize::from(threads),
            None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
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

/// Stores as a card may name them: addresses without user, password and query; what is on this machine without a path.
fn recorded(specs: &[String]) -> Vec<String> {
    let name = |spec: &String| {
        let Some((scheme, rest)) = spec.split_once("://").filter(|(scheme, _)| *scheme != "file") else {
            return "local".to_owned();
        };
        let address = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        let host = authority.rsplit('@').next().unwrap_or_default();
        if host.is_empty() { "local".to_owned() } else { format!("{scheme}://{host}/{path}") }
    };
    specs.iter().map(name).collect()
}

/// Firmware as it was given: a store path is one of the stores, not a directory of this machine.
pub fn given(path: &Path) -> Given {
    match path.to_str().map(|text| StorePath::from_absolute(text.trim_end_matches('/'))) {
        Some(Ok(path)) => Given::Path(path),
        _ => Given::Directory(path.to_owned()),
    }
}

/// Where closures are, for commands that compose nothing new.
#[derive(clap::Args)]
pub struct Stores {
    /// Where store paths are: https://CACHE, file://CACHE, a store directory,
    /// a registration file; several are asked in order [default: this
    /// machine's]
    #[arg(long, value_name = "STORE")]
    store: Vec<String>,
    /// Trust what this key has signed, NAME:BASE64; beside those of
    /// cache.nixos.org and of nix.conf
    #[arg(long, value_name = "KEY")]
    trusted_key: Vec<String>,
    /// Trust every http(s) store, signed or not
    #[arg(long)]
    no_check_sigs: bool,
    #[command(flatten)]
    fetching: Fetching,
    /// The directory that a registration given with --store describes
    #[arg(long, value_name = "DIR")]
    store_dir: Option<PathBuf>,
}

impl Stores {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// Opens them; `other` is the one to take when none is named.
    pub fn open(&self, other: Option<&str>, voice: &Voice) -> Result<Vec<Box<dyn Store>>, Failure> {
        let remote = remote((&self.store, &self.trusted_key), self.no_check_sigs, &self.fetching, voice)?;
        let mut specs = self.store.clone();
        if specs.is_empty() {
            specs.push(other.unwrap_or("auto").to_owned());
        }
        let stores = specs.iter().map(|spec| store::open(spec, self.store_dir.as_deref(), &remote));
        stores.collect::<Result<_, _>>().map_err(|error| refused(&error.into()))
    }
}

/// How caches over http are used.
fn remote(
    (stores, keys): (&[String], &[String]),
    no_check_sigs: bool,
    fetching: &Fetching,
    voice: &Voice,
) -> Result<Remote, Failure> {
    let keys = self::keys(keys)?;
    let elsewhere = |spec: &String| crate::source::is_address(spec) || spec.starts_with("ssh-ng://");
    let is_remote = stores.iter().any(elsewhere);
    if no_check_sigs && is_remote {
        voice.always("warning: signatures are not checked: whoever runs the store, or the network to it, decides what runs on this card");
    }
    // Nothing is half-written while planning, so a signal may end the program at once: nobody sets this.
    let stop = Arc::new(AtomicBool::new(false));
    let kept = super::kept();
    Ok(Remote {
        client: Client::new(super::trusts_environment(), &stop).with_logins(fetching.logins()?),
        most: fetching.most(&kept),
        kept,
        keys: (!no_check_sigs).then_some(keys),
        fetched: Arc::default(),
        ssh: Arc::new(super::transport::Program::new()),
    })
}

/// Keys that count: of cache.nixos.org, of this machine's Nix, and those given.
pub fn keys(given: &[String]) -> Result<Keys, Failure> {
    let mut keys = Keys::nixos();
    for key in conf_keys().iter().chain(given) {
        keys.add(key).map_err(|error| Failure::of(Code::Usage, &error))?;
    }
    Ok(keys)
}

/// The keys that this machine's Nix trusts.
fn conf_keys() -> Vec<String> {
    let text = std::fs::read_to_string("/etc/nix/nix.conf").unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split('#').next()?.split_once('='));
    let names = ["trusted-public-keys", "extra-trusted-public-keys"];
    let keys = lines.filter(|(name, _)| names.contains(&name.trim()));
    keys.flat_map(|(_, keys)| keys.split_whitespace()).map(str::to_owned).collect()
}

/// Shows how much has been fetched, until told to stop.
fn watch(fetched: &Arc<Fetched>, voice: &Voice, done: &AtomicBool) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut meter = None;
    loop {
        // Before the counts: what was begun before the end is shown, however short it was.
        let is_done = done.load(Ordering::Relaxed);
        let (total, bytes) = (fetched.total.load(Ordering::Acquire), fetched.bytes.load(Ordering::Relaxed));
        if total > 0 {
            let meter = meter.get_or_insert_with(|| {
                let paths = fetched.paths.load(Ordering::Relaxed);
                voice.say(&format!("fetching {paths} store paths, {}", show_bytes(total)));
                voice.follow(fetched);
                voice.meter("fetch", total, &stop)
            });
            meter.at(bytes);
        }
        if is_done {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(mut meter) = meter {
        meter.finish(fetched.bytes.load(Ordering::Relaxed));
    }
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

/// The failure that a toplevel is in no store, when nobody has built it either.
fn unbuilt(system: &System, error: &compose::Error) -> Option<Failure> {
    let compose::Error::Store(store::Error::Missing { path, .. }) = error else { return None };
    (system.evaluated && *path == system.path.to_string()).then(|| {
        Failure::of(Code::Source, error).hint(
            "the flake was only evaluated: push its toplevel to one of these stores, or add --store auto, and nix \
             builds it here",
        )
    })
}

/// A failure to plan, with its code and a hint.
pub fn refused(error: &compose::Error) -> Failure {
    use compose::Error as E;
    match error {
        E::Store(store::Error::Untrusted { .. }) => Failure::of(Code::Source, error).hint(
            "name its key with --trusted-key, sign it with `nix store sign`, or trust all that the store has with --no-check-sigs",
        ),
        E::Store(inner) if inner.is_bad_source() => Failure::of(Code::Source, error),
        E::Toplevel { .. } => Failure::of(Code::Source, error),
        E::Firmware(missing) => Failure::of(Code::Source, error)
            .hint(format!(
            "make it with `{}` and name it with --firmware; or take it from a channel, as in --channel nixos-25.11",
            missing.command
        )),
        E::Ext4(crate::format::ext4::Error::TooSmall { .. }) | E::NoRoot { .. } => {
            Failure::of(Code::TooSmall, error)
        }
        E::Store(store::Error::Io { source, .. }) | E::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::of(Code::Permission, error)
        }
        _ => Failure::of(Code::Other, error),
    }
}

/// A failure to move an image; `left` says what an interrupted run leaves.
pub fn copy_failed(error: &CopyError, left: &str) -> Failure {
    match error {
        CopyError::Source(SourceError::Bad(_)) => Failure::of(Code::Source, error),
        CopyError::Source(SourceError::Io(_)) => Failure::of(Code::Other, error),
        CopyError::Sink(_) => Failure::of(Code::Target, error),
        CopyError::Interrupted => Failure::new(Code::Interrupted, format!("interrupted; {left}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_stores_name_neither_users_nor_passwords_nor_paths_of_this_machine() {
        let specs = [
            "https://user:word@cache.example/x?token=word#word",
            "https://cache.example",
            "ssh-ng://root@builder:22?ssh-key=/word",
            "file:///media/word",
            "./word",
            "auto",
            "unix:///run/word",
        ];
        let expected = [
            "https://cache.example/x",
            "https://cache.example/",
            "ssh-ng://builder:22/",
            "local",
            "local",
            "local",
            "local",
        ];
        assert_eq!(recorded(&specs.map(str::to_owned)), expected);
    }
}
