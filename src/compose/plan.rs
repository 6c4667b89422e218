//! The plan: every decision about an image, made before a byte is written.

use super::boot;
use super::closure::{Forest, Packed};
use super::content::Content;
use super::demands::{Contract, Loading};
use super::dry_check::generations;
use super::error::Error;
use super::firmware::channel::Pin;
use super::firmware::find;
use super::firmware::find::Places;
use super::firmware::raw_loaders;
use super::identity::Identity;
use super::ids::Ids;
use super::layout;
use super::layout::{Assembly, Part};
use super::request::{Embed, Request, RootSize};
use super::root::boot_digests::BootFiles;
use super::root::configuration::{Configuration, Root as InRoot};
use super::root::files::{Files, Literals};
use super::root::manifest_text;
use super::root::manifest_text::{Composition, Draft, Recipe};
use super::root::skeleton;
use super::root::skeleton::Root;
use super::summary::{self, Summary};
use super::system::own_configuration;
use super::system::toplevel::Toplevel;
use super::write::in_place::{Landed, Settled};
use crate::board::{Board, Role};
use crate::extent::Layout;
use crate::format::disk::{ext4, fat};
use crate::format::nix::store_path::{STORE_DIR, StorePath};
use crate::num;
use crate::store::Store;
use crate::tree::Node;
use std::sync::Arc;

/// All that moving the bytes needs.
pub struct Image {
    /// Length in bytes.
    pub len: u64,
    /// Parts in ascending order.
    pub parts: Vec<Part>,
    /// Stores that sources refer to.
    pub stores: Vec<Box<dyn Store>>,
    /// Sources of contents, the closure first.
    pub sources: Vec<Packed>,
    /// Their trees.
    pub trees: Vec<Node<Content>>,
    /// Contents of nixflash's own making.
    pub literals: Literals,
}

/// Every decision about an image.
pub struct Plan {
    /// What moves.
    pub(super) image: Arc<Image>,
    /// What is at its place already in the file that was landed on; `None` where something is that should not be.
    pub(super) settled: Option<Settled>,
    /// What it says of itself.
    pub summary: Summary,
    /// What was taken from a channel.
    pub pins: Vec<Pin>,
    /// The platform of the system, such as `aarch64-linux`.
    pub platform: String,
}

impl Plan {
    /// Bytes of contents that are at their place already, in the file that they landed on.
    #[must_use]
    pub fn landed_bytes(&self) -> u64 {
        self.settled.as_ref().map_or(0, |settled| settled.bytes)
    }
}

/// Decides everything of an image whose closure was looked through; `landed` is what lies in its file already.
pub fn decide(
    request: Request,
    systems: &[StorePath],
    mut forest: Forest,
    landed: Landed,
) -> Result<Plan, Error> {
    let Request { board, system, older, firmware, channels, .. } = request;
    let Request { root_size, boot_size, free_inodes, id_seed, epoch, record, .. } = request;
    let closure = forest.sources.len();
    let generations = generations(&forest, systems)?;
    // cannot fail: there is the system at least
    let toplevel = generations.last().expect("a generation");
    let contract = Contract::of(&generations, &board, &forest);
    contract.ensure(toplevel, &board)?;
    let board = with_active(seeded(board, id_seed.as_deref()), &contract.loading);
    let mut warnings = std::mem::take(&mut forest.notes);
    warnings.extend(contract.warnings());
    let (places, pins) = find::find(&board, &firmware, channels.as_ref(), &mut forest)?;
    let identity = Identity::new(&board.name, forest.sources[..closure].iter(), id_seed.as_deref());
    let ids = Ids::new(&board, &contract, &identity).map_err(|message| Error::Demand {
        system: system.name().to_owned(),
        board: board.name.clone(),
        message,
    })?;

    let mut literals = Literals::default();
    let world = boot::World {
        board: &board,
        generations: &generations,
        toplevel,
        loading: &contract.loading,
        forest: &forest,
        places: &places,
        epoch,
    };
    let boot_fat = world.on_fat(&mut literals)?;
    let mut files = Files::new(epoch);
    world.on_root(&mut files, &mut literals)?;
    let blobs = raw_loaders::blobs(&board, &places, &forest)?;
    let boot_files = boot_files(&board, boot_fat.as_ref(), &files, &blobs, &literals).digest(&forest)?;
    let revision = own_configuration::revision(toplevel, &forest)?;
    let system_revision = revision.as_deref();
    let configuration =
        match embedded(&record.configuration, toplevel, &forest, system_revision, &mut warnings)? {
            Some(found) => {
                let place =
                    if contract.mounts.has_root_in_memory() { InRoot::InMemory } else { InRoot::OnCard };
                Some(found.place((toplevel, place), &forest, &mut files, &mut literals)?)
            }
            None => None,
        };
    warnings.extend(configuration.as_ref().and_then(|placed| placed.doubt(system_revision)));
    let recipe = Recipe {
        root_size,
        boot_size,
        free_inodes,
        epoch,
        id_seed: id_seed.as_deref(),
        older: &older,
        record: &record,
    };
    let draft = Draft::new(&Composition {
        board: &board,
        toplevel,
        ids: &ids,
        closure,
        forest: &forest,
        places: &places,
        boot_files: &boot_files,
        configuration: configuration.as_ref(),
        system_revision,
        recipe: &recipe,
    });
    let manifest = files.room(manifest_text::MANIFEST, draft.room(), &mut literals)?;
    let signature = match &record.signing {
        Some(signing) => {
            let len = manifest_text::signature(signing, "", toplevel).len();
            Some((signing, files.room(manifest_text::SIGNATURE, len, &mut literals)?))
        }
        None => None,
    };
    let root = Root {
        generations: systems,
        closure: &forest.sources[..closure],
        wants_registration: toplevel.first_boot.wants_registration,
        mount_points: &contract.mount_points,
        has_etc_overlay: toplevel.has_writable_etc_overlay(),
        has_fixed_init: toplevel.has_fixed_init(),
    };
    root.build(epoch, &mut files, &mut literals)?;
    let firmware = shown_firmware(&places, &forest);
    let mut trees = forest.take_trees();
    let Forest { stores, sources, .. } = forest;
    let firmware_trees = trees.split_off(closure);
    let paths = sources[..closure].iter().map(|packed| packed.info.path.clone());
    files.put(STORE_DIR, skeleton::store_directory(paths.zip(trees).collect())?)?;

    let root_start = board.root().start;
    let size = ext4_size(root_size, root_start, &board, free_inodes)?;
    let purpose = match root_size {
        RootSize::Card(_) => ext4::Purpose::Card,
        RootSize::Free(_) | RootSize::Image(_) => ext4::Purpose::Image,
    };
    // A root in memory leaves /nix for the card.
    let top = if contract.mounts.has_root_in_memory() { "/nix" } else { "" };
    let tree = files.into_subtree(top);
    let front = STORE_DIR.trim_start_matches(top);
    let ext4 = ext4::plan(&tree, &ids.ext4(size, epoch, purpose, front)?)?;
    // The trees go out of the root again: contents are compared with them while they move.
    let mut trees = skeleton::store_trees(tree, top);
    trees.extend(firmware_trees);
    let ext4_summary = ext4.summary();
    let finished = draft.finish(ext4.len());
    literals.settle(manifest, finished.text.as_bytes());
    if let Some((signing, literal)) = signature {
        literals.settle(literal, manifest_text::signature(signing, &finished.text, toplevel).into_bytes());
    }
    let boot_fat = match (board.boot_fat(), boot_fat) {
        (Some((_, partition)), Some(mut files)) => {
            files.literal(manifest_text::FAT_COPY, finished.fat_copy().as_bytes(), &mut literals)?;
            Some(fat::plan(&files.into_root(), &ids.fat(partition, epoch)?)?)
        }
        _ => None,
    };
    let layout = Assembly { board: &board, ids: &ids, root_len: ext4.len(), blobs };
    let len = match root_size {
        RootSize::Image(len) | RootSize::Card(len) => len,
        RootSize::Free(_) => layout.len(),
    };
    let partitions = summary::partitions(&board, &ids.shown, boot_fat.as_ref(), &ext4);
    let parts = layout.parts(len, boot_fat, ext4)?;
    let mapped = parts.iter().flat_map(|part| part.layout.extents()).map(|extent| extent.len).sum();
    let summary = Summary {
        schema: "nixflash-plan/1",
        board: board.name.clone(),
        toplevel: system.to_string(),
        nixos_version: toplevel.version.clone(),
        store_paths: closure,
        nar_bytes: sources[..closure].iter().map(|packed| packed.info.nar_size).sum(),
        image_bytes: len,
        mapped_bytes: mapped,
        table: board.table,
        identifiers: ids.shown,
        partitions,
        root_inodes: ext4_summary.inodes,
        root_free_inodes: ext4_summary.free_inodes,
        firmware,
        configuration,
        warnings: board
            .requires
            .iter()
            .cloned()
            .chain(warnings)
            .chain(summary::clashes(id_seed.as_deref(), &contract))
            .collect(),
    };
    let settled = landed.settle(&parts);
    Ok(Plan {
        image: Arc::new(Image { len, parts, stores, sources, trees, literals }),
        settled,
        summary,
        pins,
        platform: board.system.clone(),
    })
}

/// All that is read before the system runs, partition by partition.
fn boot_files(
    board: &Board,
    boot_fat: Option<&Files>,
    root: &Files,
    blobs: &[layout::Blob],
    literals: &Literals,
) -> BootFiles {
    let mut found = BootFiles::default();
    if let (Some((number, _)), Some(fat)) = (board.boot_fat(), boot_fat) {
        found.add(num::to_usize(u64::from(number)), "", fat.root(), literals);
    }
    found.add(board.partitions.len(), "", root.root(), literals);
    for blob in blobs {
        found.add_raw(blob.offset, blob.len, blob.content, literals);
    }
    found
}

/// The configuration that goes onto the card: the one that was given, or the one that the system carries.
fn embedded(
    wanted: &Embed,
    toplevel: &Toplevel,
    forest: &Forest,
    revision: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Option<Configuration>, Error> {
    match wanted {
        Embed::Nothing => Ok(None),
        Embed::Carried => own_configuration::configuration(toplevel, forest, revision, warnings),
        Embed::This(configuration) => Ok(Some(configuration.clone())),
    }
}

/// Where identifiers derive from a word of the user's, those of the profile would only clash.
fn seeded(mut board: Board, seed: Option<&str>) -> Board {
    if seed.is_some() {
        board.disk_id = None;
        for partition in &mut board.partitions {
            partition.volume_id = None;
        }
    }
    board
}

/// U-Boot looks on the partition that is flagged active.
fn with_active(mut board: Board, loading: &Loading) -> Board {
    if loading.is_on_fat() && board.partitions.iter().any(|partition| partition.active) {
        for partition in &mut board.partitions {
            partition.active = partition.role != Role::Root;
        }
    }
    board
}

fn ext4_size(root_size: RootSize, start: u64, board: &Board, free_inodes: u32) -> Result<ext4::Size, Error> {
    match root_size {
        RootSize::Free(free_bytes) => Ok(ext4::Size::Smallest { free_bytes, free_inodes }),
        RootSize::Image(given) | RootSize::Card(given) => {
            let room = given.checked_sub(start + layout::tail(board.table)).filter(|room| *room > 0);
            Ok(ext4::Size::Exact(room.ok_or(Error::NoRoot { given, start })?))
        }
    }
}

fn shown_firmware(places: &Places, forest: &Forest) -> Vec<(String, String)> {
    let path = |source: u32| forest.sources[num::to_usize(u64::from(source))].info.path.to_string();
    places.iter().map(|(key, place)| (key.clone(), path(place.source))).collect()
}
