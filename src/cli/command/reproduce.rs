//! `nixflash reproduce`: a card composed again from its own manifest, and compared.

use super::inspect;
use crate::board;
use crate::board::Board;
use crate::card::manifest::{self, Manifest, RawFile, RootSizeKind};
use crate::card::paths;
use crate::cli::ask::disks;
use crate::cli::ask::open::open_target;
use crate::cli::exit::{Code, Failure};
use crate::cli::option::stores::Stores;
use crate::cli::option::system_source::given;
use crate::cli::outcome::Outcome;
use crate::cli::show::failures::refused;
use crate::cli::show::output;
use crate::cli::show::signals;
use crate::cli::show::terminal::Voice;
use crate::compose;
use crate::compose::configuration::{Access, Configuration, Entry, MAX_BYTES, Revision};
use crate::compose::{Embed, Plan, Record, Request, RootSize, Signing};
use crate::device::{Named, Reader, resolve};
use crate::format::nix::nar_hash;
use crate::format::nix::store_path::StorePath;
use crate::image::read::open;
use crate::image::{Progress, SourceError};
use crate::inspect::{Item, State, configuration as look_for_configuration, extract, inspect as look};
use crate::sizes::show_bytes;
use crate::stream::ReadAt;
use crate::verify::ranges;
use crate::verify::ranges::{Watch, ranges};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How many names of what differs are told.
const LISTED: usize = 200;
/// The most bytes of the signature of a manifest.
const MAX_SIGNATURE: u64 = 64 << 10;

/// Compose a card again from its own manifest, and compare.
///
/// The manifest on the card says of what and how it was composed. It is
/// composed again, out of stores, without a copy on disk, and compared with
/// the card range by range: identical, or what differs. A system that has run
/// has changed its file system; `nixflash verify` judges that.
#[derive(clap::Args)]
pub struct Options {
    /// The disk, such as /dev/sdX, or an image
    device: PathBuf,
    #[command(flatten)]
    stores: Stores,
    /// A directory with firmware: a package, or the root of a store
    #[arg(long, value_name = "DIR")]
    firmware: Vec<PathBuf>,
    /// Threads that read and unpack [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print what differs as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(options: &Options, voice: &Voice) -> Outcome {
    let name = options.device.display().to_string();
    let listing = disks::listing()?;
    let named = resolve(&listing, &options.device).map_err(|error| Failure::reading(&name, &error))?;
    if matches!(named, Named::File { .. }) {
        let image = open::open(&options.device, &crate::cli::caller::scratch())
            .map_err(|error| inspect::unreadable(&error))?;
        return again(options, &name, &image, voice);
    }
    let (disk, _) = open_target(&options.device, voice)?;
    again(options, &name, &Reader::new(&*disk), voice)
}

fn again(options: &Options, name: &str, disk: &dyn ReadAt, voice: &Voice) -> Outcome {
    let report = look(disk).map_err(|error| Failure::reading(name, &error))?;
    let Some(provenance) = report.provenance else {
        return Err(Failure::new(Code::Source, format!("{name}: there is no manifest of nixflash on it")));
    };
    let manifest: Manifest =
        serde_json::from_value(provenance.clone()).map_err(|error| Failure::of(Code::Source, &error))?;
    let used = report
        .partitions
        .iter()
        .filter_map(|one| one.file_system.as_ref())
        .any(|one| one.mounted.is_some() || one.state == Some(State::Replay));
    let own = Own::read(disk, &manifest, &provenance)?;
    let has_signature = own.signature.is_some();
    let plan = plan(&manifest, own, options, voice)?;
    ensure_configuration(&manifest, &plan)?;
    let stop = Arc::new(AtomicBool::new(false));
    signals::interrupt_into(&stop)?;
    let all = || crate::workers::cores();
    let workers = options.threads.map_or_else(all, usize::from);
    let mut meter = voice.meter("compare", plan.summary.image_bytes, &stop);
    let raws = manifest.raw_files.iter().filter_map(RawFile::range).collect();
    let mut seen =
        Seen { plan: &plan, raws, meter: &mut meter, found: BTreeMap::new(), bytes: 0, left_out: 0 };
    let done = ranges(disk, &mut *plan.source(workers), &stop, &mut seen);
    let (found, bytes, left_out) = (seen.found, seen.bytes, seen.left_out);
    let (len, compared) = done.map_err(|error| failed(name, &error))?;
    meter.finish(len);
    if options.json {
        let value = json!({
            "schema": "nixflash-reproduce/1",
            "target": options.device,
            "identical": bytes == 0,
            "signature": has_signature.then_some("taken from the card"),
            "imageBytes": len,
            "compared": compared,
            "used": used,
            "differingBytes": bytes,
            "differs": found.iter().map(|(what, len)| json!({ "what": what, "bytes": len })).collect::<Vec<_>>(),
            "notListed": left_out,
        });
        output::data(&format!("{value:#}\n"))?;
    }
    if has_signature {
        voice.say("the signature of its manifest was taken from it: only the key could make it again; `nixflash verify --trusted-key` judges it");
    }
    if bytes == 0 {
        voice.say(&format!(
            "{name} is identical to what its manifest composes; {} compared",
            show_bytes(compared)
        ));
        return Ok(());
    }
    for (what, len) in &found {
        voice.always(&output::escape(&format!("  {what}: {}", show_bytes(*len))));
    }
    if left_out > 0 {
        voice.always(&format!("  and {} in other places", show_bytes(left_out)));
    }
    let text = format!("{name} differs in {} from what its manifest composes", show_bytes(bytes));
    let failure = Failure::new(Code::Differs, text);
    Err(if used {
        failure.hint(format!(
            "a system has run from it, which changes its file systems; judge it with: nixflash verify {name}"
        ))
    } else {
        failure
    })
}

/// Gathers what differs, by name.
struct Seen<'a> {
    plan: &'a Plan,
    /// Boot loaders outside of partitions.
    raws: Vec<Range<u64>>,
    meter: &'a mut dyn Progress,
    found: BTreeMap<String, u64>,
    bytes: u64,
    left_out: u64,
}

impl Watch for Seen<'_> {
    fn differs(&mut self, offset: u64, len: u64) {
        self.bytes += len;
        let what = match self.plan.locate(offset) {
            Some((number, what)) => format!("partition {number}: {what}"),
            None => match self.raws.iter().find(|raw| raw.contains(&offset)) {
                Some(raw) => format!("boot loader at byte {}", raw.start),
                None => "partition table and what lies between partitions".to_owned(),
            },
        };
        if self.found.len() < LISTED || self.found.contains_key(&what) {
            *self.found.entry(what).or_default() += len;
        } else {
            self.left_out += len;
        }
    }

    fn at(&mut self, offset: u64) {
        self.meter.at(offset);
    }
}

/// Plans what the manifest describes.
fn plan(manifest: &Manifest, own: Own, options: &Options, voice: &Voice) -> Result<Plan, Failure> {
    let bad = |what: &str| Failure::new(Code::Source, format!("its manifest {what}"));
    let ours = env!("CARGO_PKG_VERSION");
    let made = Some(manifest.nixflash.as_str()).filter(|made| !made.is_empty());
    if made != Some(ours) {
        let made = made.unwrap_or("an unknown version");
        let text =
            format!("it was composed by nixflash {made}, this is {ours}: other versions may make other bits");
        return Err(Failure::new(Code::Other, text).hint(format!("run nixflash {made} reproduce")));
    }
    let recipe = &manifest.compose;
    let root_size = recipe.root_size.ok_or_else(|| bad("does not say how large its root is"))?;
    let (mut board, profile) = board_of(manifest)?;
    // As it was recorded: what was added to the text of the profile.
    if let (Some(text), Some(added)) = (&mut board.config_txt, &recipe.config_txt) {
        text.push_str(added);
    }
    let number = |number: Option<u64>| number.and_then(|n| u32::try_from(n).ok());
    if manifest.toplevel.is_empty() {
        return Err(bad("names no toplevel"));
    }
    let system = StorePath::from_absolute(&manifest.toplevel)
        .map_err(|_| bad("names a toplevel that is no store path"))?;
    let older: Result<Vec<_>, _> =
        recipe.generations.iter().map(|path| StorePath::from_absolute(path)).collect();
    let older = older.map_err(|_| bad("names a generation that is no store path"))?;
    let request = Request {
        board,
        system,
        older,
        stores: options.stores.open(None, voice)?,
        firmware: options.firmware.iter().map(|path| given(path)).collect(),
        channels: None,
        root_size: match root_size.kind {
            RootSizeKind::Free => RootSize::Free(root_size.bytes),
            RootSizeKind::Image => RootSize::Image(root_size.bytes),
            RootSizeKind::Card => RootSize::Card(root_size.bytes),
        },
        boot_size: recipe.boot_size,
        free_inodes: number(recipe.free_inodes)
            .ok_or_else(|| bad("does not say how many inodes are free"))?,
        id_seed: recipe.id_seed.clone(),
        epoch: number(recipe.epoch).ok_or_else(|| bad("does not say of which time its files are"))?,
        record: Record {
            profile,
            config_txt: recipe.config_txt.clone(),
            stores: manifest.stores.clone(),
            configuration: own.configuration.map_or(Embed::Nothing, Embed::This),
            signing: own.signature.map(Signing::As),
        },
    };
    compose::compose(request).map_err(|error| refused(&error))
}

/// What a card is composed of that no store has.
struct Own {
    configuration: Option<Configuration>,
    signature: Option<String>,
}

impl Own {
    fn read(disk: &dyn ReadAt, manifest: &Manifest, provenance: &Value) -> Result<Self, Failure> {
        let embedded = manifest.configuration.as_ref();
        let configuration = embedded.map(|embedded| configuration(disk, embedded, provenance)).transpose()?;
        Ok(Self { configuration, signature: signature(disk) })
    }
}

/// The signature beside the manifest, if there is one.
fn signature(disk: &dyn ReadAt) -> Option<String> {
    let mut text = String::new();
    let found = extract(disk, None, paths::MANIFEST_SIGNATURE, &mut |_, item| match item {
        Item::File { contents, .. } => {
            let read = contents.take(MAX_SIGNATURE).read_to_string(&mut text);
            read.map(drop).map_err(|error| error.to_string())
        }
        Item::Directory | Item::Symlink(_) => Err("it is no file".to_owned()),
    });
    found.ok().map(|()| text)
}

/// The configuration as it is on the card.
fn configuration(
    disk: &dyn ReadAt,
    embedded: &manifest::Configuration,
    provenance: &Value,
) -> Result<Configuration, Failure> {
    let path = look_for_configuration(Some(provenance));
    let wrong =
        |why: String| Failure::new(Code::Source, crate::cli::show::output::escape(&format!("{path}: {why}")));
    let mut found = Configuration::default();
    let mut left = MAX_BYTES;
    let read = extract(disk, None, path, &mut |below, item| {
        let entry = match item {
            Item::Directory => return Ok(()),
            Item::Symlink(target) => {
                Entry::Symlink(String::from_utf8(target).map_err(|error| error.to_string())?)
            }
            Item::File { executable, len, contents } => {
                left = left.checked_sub(len).ok_or("it is larger than what can be embedded")?;
                let mut bytes = Vec::new();
                contents.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
                Entry::File { executable, bytes }
            }
        };
        let name = std::str::from_utf8(below).map_err(|error| error.to_string())?;
        found.add(name, entry).map_err(|error| error.to_string())
    });
    read.map_err(wrong)?;
    let is_dirty = embedded.dirty.unwrap_or(false);
    found.revision = embedded.revision.clone().map(|name| Revision { name, is_dirty });
    found.access = if embedded.private { Access::Root } else { Access::Everyone };
    Ok(found)
}

/// What was composed must have the configuration of the manifest: it came from the card, where anyone may edit it.
fn ensure_configuration(manifest: &Manifest, plan: &Plan) -> Result<(), Failure> {
    let wanted = manifest.configuration.as_ref().and_then(|embedded| nar_hash::parse(&embedded.nar_hash));
    let found = plan.summary.configuration.as_ref().map(|placed| placed.nar_hash);
    if found.is_none() || found == wanted {
        return Ok(());
    }
    let text =
        "the configuration on it is not the one that was embedded, so that it cannot be composed again";
    Err(Failure::new(Code::Differs, text).hint("`nixflash verify` names the files that differ"))
}

/// The board of the manifest, which must be the very same profile.
fn board_of(manifest: &Manifest) -> Result<(Board, Option<String>), Failure> {
    let name = &manifest.board;
    let profile = manifest.compose.profile.clone();
    let board = match &profile {
        Some(text) => board::parse("the profile in its manifest", text),
        None => board::find(name),
    };
    let board = board.map_err(|error| Failure::of(Code::Source, &error))?;
    if manifest.profile_sha256 == crate::base_n::to_base16(&board.digest) {
        return Ok((board, profile));
    }
    let text = format!("the profile of the board {name} is not the one that it was composed with");
    Err(Failure::new(Code::Other, text).hint("use the nixflash that composed it"))
}

fn failed(name: &str, error: &ranges::Error) -> Failure {
    match error {
        ranges::Error::Source(SourceError::Bad(_)) => Failure::of(Code::Source, error),
        ranges::Error::Source(SourceError::Io(_)) => Failure::of(Code::Other, error),
        ranges::Error::Read { .. } => Failure::new(Code::Target, format!("{name}: {error}")),
        ranges::Error::Interrupted => Failure::new(Code::Interrupted, "interrupted; nothing was changed"),
    }
}
