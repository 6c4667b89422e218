//! Every decision about an image, made before a byte is written: steps with values between them.
//!
//! demands -> firmware -> identifiers -> boot files -> configuration -> manifest (its length) -> root file system ->
//! manifest (its text) -> FAT -> layout -> summary. Each step takes what the steps before it gave and changes nothing
//! of theirs; files and literals grow on the way.

use super::boot::world::World;
use super::closure::{Forest, Parts};
use super::content::Content;
use super::demands::contract::Contract;
use super::demands::loading::Loading;
use super::error::Error;
use super::firmware::package::Places;
use super::firmware::{find, raw_loaders};
use super::literals::Literals;
use super::plan::identity::Identity;
use super::plan::ids::Ids;
use super::plan::image::{Image, Plan};
use super::plan::landed::Landed;
use super::plan::layout::{self, Assembly, Blob};
use super::plan::summary::{self, Summary};
use super::request::composition::{Embed, Request, RootSize};
use super::request::configuration::{Configuration, Placed};
use super::root::boot_digests::{BootFile, BootFiles};
use super::root::etc_nixos::{self, RunningRoot};
use super::root::files::Files;
use super::root::manifest_text::{self, Composition, Draft, Finished, Recipe};
use super::root::skeleton::{self, Skeleton};
use super::system::generations::generations;
use super::system::own_configuration;
use super::system::toplevel::Toplevel;
use crate::board::{Board, Role};
use crate::card::paths;
use crate::extent::Layout;
use crate::format::disk::ext4::{self, Ext4};
use crate::format::disk::fat::{self, Fat};
use crate::format::nix::store_path::{STORE_DIR, StorePath};
use crate::ints;
use std::sync::Arc;

/// Decides everything of an image whose closure was looked through; `landed` is what lies in its file already.
pub fn decide(
    request: Request,
    systems: &[StorePath],
    mut forest: Forest,
    landed: &Landed,
) -> Result<Plan, Error> {
    let closure = forest.sources.len();
    let mut demanded = demanded(&request, systems, &mut forest)?;
    let (places, pins) =
        find::find(&demanded.board, &request.firmware, request.channels.as_ref(), &mut forest)?;
    let identity =
        Identity::new(&demanded.board.name, forest.sources[..closure].iter(), request.id_seed.as_deref());
    let ids = identifiers(&demanded, &identity)?;
    let scene = Scene { request: &request, systems, forest: &forest, closure, places: &places, ids: &ids };

    let mut made = Made { files: Files::new(request.epoch), literals: Literals::default() };
    let boot = scene.boot(&demanded, &mut made)?;
    let configuration = scene.configuration(&mut demanded, &mut made)?;
    let reserved = scene.manifest(&demanded, &boot, configuration.as_ref(), &mut made)?;
    scene.skeleton(&demanded, &mut made)?;
    let Made { files, mut literals } = made;
    let root = scene.root_file_system(&demanded, files)?;
    let finished = reserved.settle(root.len(), demanded.toplevel(), &mut literals);
    let boot_fat = scene.boot_file_system(&demanded, boot.fat, finished, &mut literals)?;

    let whole = Whole { root, boot_fat, blobs: boot.blobs, configuration };
    let (len, parts, summary) = scene.laid_out(&demanded, whole)?;
    let settled = landed.settle(&parts);
    let Parts { stores, sources, trees } = forest.into_parts();
    let image = Image { len, parts, stores, sources, trees, literals };
    Ok(Plan { image: Arc::new(image), settled, summary, pins, platform: demanded.board.system })
}

/// What the systems demand, and the board as it is after that.
struct Demanded {
    /// All of the menu, the oldest first; never empty.
    generations: Vec<Toplevel>,
    contract: Contract,
    board: Board,
    /// What the system says of its revision.
    revision: Option<String>,
    warnings: Vec<String>,
}

impl Demanded {
    /// The system that boots.
    fn toplevel(&self) -> &Toplevel {
        // cannot fail: there is the system at least
        self.generations.last().expect("a generation")
    }
}

/// Holds the systems against the board; refuses what it cannot give.
fn demanded(request: &Request, systems: &[StorePath], forest: &mut Forest) -> Result<Demanded, Error> {
    let generations = generations(forest, systems)?;
    // cannot fail: there is the system at least
    let toplevel = generations.last().expect("a generation");
    let contract = Contract::of(&generations, &request.board, forest);
    contract.ensure(toplevel, &request.board)?;
    let board = seeded(request.board.clone(), request.id_seed.as_deref());
    let board = with_active(board, &contract.loading);
    let revision = own_configuration::revision(toplevel, forest)?;
    let mut warnings = std::mem::take(&mut forest.notes);
    warnings.extend(contract.warnings());
    Ok(Demanded { generations, contract, board, revision, warnings })
}

fn identifiers(demanded: &Demanded, identity: &Identity) -> Result<Ids, Error> {
    Ids::new(&demanded.board, &demanded.contract, identity).map_err(|message| Error::Demand {
        system: demanded.toplevel().path.name().to_owned(),
        board: demanded.board.name.clone(),
        message,
    })
}

/// What the later steps look at and do not change.
struct Scene<'a> {
    request: &'a Request,
    /// The toplevels, the newest last.
    systems: &'a [StorePath],
    forest: &'a Forest,
    /// How many sources of the forest are the closure.
    closure: usize,
    places: &'a Places,
    ids: &'a Ids,
}

/// What grows from step to step.
struct Made {
    /// The tree of the root, without the store.
    files: Files,
    literals: Literals,
}

/// What boots.
struct Boot {
    /// The tree of the FAT.
    fat: Option<Files>,
    /// Boot loaders outside of all partitions.
    blobs: Vec<Blob>,
    /// Every file that is read before the system runs, with its digest.
    digests: Vec<BootFile>,
}

/// A manifest that has its place but not yet its text.
struct Reserved<'a> {
    draft: Draft,
    manifest: u32,
    signature: Option<(&'a super::request::composition::Signing, u32)>,
}

/// All that the layout is made of.
struct Whole {
    root: Ext4<Content>,
    boot_fat: Option<Fat<Content>>,
    blobs: Vec<Blob>,
    configuration: Option<Placed>,
}

impl Scene<'_> {
    /// Writes what the boot loader reads, on the FAT and on the root, and digests it.
    fn boot(&self, demanded: &Demanded, made: &mut Made) -> Result<Boot, Error> {
        let world = World {
            board: &demanded.board,
            generations: &demanded.generations,
            toplevel: demanded.toplevel(),
            loading: &demanded.contract.loading,
            forest: self.forest,
            places: self.places,
            epoch: self.request.epoch,
        };
        let fat = world.on_fat(&mut made.literals)?;
        world.on_root(&mut made.files, &mut made.literals)?;
        let blobs = raw_loaders::blobs(&demanded.board, self.places, self.forest)?;
        let mut wanted = BootFiles::default();
        if let (Some((number, _)), Some(fat)) = (demanded.board.boot_fat(), &fat) {
            wanted.add(ints::to_usize(u64::from(number)), "", fat.root(), &made.literals);
        }
        wanted.add(demanded.board.partitions.len(), "", made.files.root(), &made.literals);
        for blob in &blobs {
            wanted.add_raw(blob.offset, blob.len, blob.content, &made.literals);
        }
        let digests = wanted.digest(self.forest)?;
        Ok(Boot { fat, blobs, digests })
    }

    /// Puts the configuration where `nixos-rebuild` on the card looks for it.
    fn configuration(&self, demanded: &mut Demanded, made: &mut Made) -> Result<Option<Placed>, Error> {
        let revision = demanded.revision.clone();
        let mut warnings = Vec::new();
        let toplevel = demanded.toplevel();
        let found = self.embedded(toplevel, revision.as_deref(), &mut warnings)?;
        let running = if demanded.contract.mounts.has_root_in_memory() {
            RunningRoot::InMemory
        } else {
            RunningRoot::OnCard
        };
        let placed = found.map(|found| {
            let base = etc_nixos::directory(toplevel, running, self.forest)?;
            etc_nixos::place(&found, base, &mut made.files, &mut made.literals)
        });
        let placed = placed.transpose()?;
        warnings.extend(placed.as_ref().and_then(|placed| placed.doubt(revision.as_deref())));
        demanded.warnings.extend(warnings);
        Ok(placed)
    }

    /// The configuration that was given, or the one that the system carries.
    fn embedded(
        &self,
        toplevel: &Toplevel,
        revision: Option<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Configuration>, Error> {
        match &self.request.record.configuration {
            Embed::Nothing => Ok(None),
            Embed::Carried => own_configuration::configuration(toplevel, self.forest, revision, warnings),
            Embed::This(configuration) => Ok(Some(configuration.clone())),
        }
    }

    /// Gives the manifest and its signature their places; their text depends on the length of the root.
    fn manifest(
        &self,
        demanded: &Demanded,
        boot: &Boot,
        configuration: Option<&Placed>,
        made: &mut Made,
    ) -> Result<Reserved<'_>, Error> {
        let request = self.request;
        let draft = Draft::new(&Composition {
            board: &demanded.board,
            toplevel: demanded.toplevel(),
            ids: self.ids,
            closure: self.closure,
            forest: self.forest,
            places: self.places,
            boot_files: &boot.digests,
            configuration,
            system_revision: demanded.revision.as_deref(),
            recipe: &Recipe {
                root_size: request.root_size,
                boot_size: request.boot_size,
                free_inodes: request.free_inodes,
                epoch: request.epoch,
                id_seed: request.id_seed.as_deref(),
                older: &request.older,
                record: &request.record,
            },
        });
        let Made { files, literals } = made;
        let manifest = files.room(paths::MANIFEST, draft.room(), literals)?;
        let signature = match &request.record.signing {
            Some(signing) => {
                let len = manifest_text::signature(signing, "", demanded.toplevel()).len();
                Some((signing, files.room(paths::MANIFEST_SIGNATURE, len, literals)?))
            }
            None => None,
        };
        Ok(Reserved { draft, manifest, signature })
    }

    /// Adds what the first boot expects to find.
    fn skeleton(&self, demanded: &Demanded, made: &mut Made) -> Result<(), Error> {
        let toplevel = demanded.toplevel();
        let skeleton = Skeleton {
            generations: self.systems,
            closure: &self.forest.sources[..self.closure],
            wants_registration: toplevel.first_boot.wants_registration,
            mount_points: &demanded.contract.mount_points,
            has_etc_overlay: toplevel.has_writable_etc_overlay(),
            has_fixed_init: toplevel.has_fixed_init(),
        };
        skeleton.build(self.request.epoch, &mut made.files, &mut made.literals)
    }

    /// Plans the ext4: the files that were made, and the trees of the closure, which are lent to it.
    fn root_file_system(&self, demanded: &Demanded, mut files: Files) -> Result<Ext4<Content>, Error> {
        let request = self.request;
        skeleton::add_store_directory(&mut files)?;
        let size = ext4_size(request.root_size, &demanded.board, request.free_inodes)?;
        let purpose = match request.root_size {
            RootSize::Card(_) => ext4::Purpose::Card,
            RootSize::Free(_) | RootSize::Image(_) => ext4::Purpose::Image,
        };
        // A root in memory leaves /nix for the card.
        let top = if demanded.contract.mounts.has_root_in_memory() { "/nix" } else { "" };
        let tree = files.into_subtree(top);
        let front = STORE_DIR.trim_start_matches(top);
        let lent = skeleton::store_entries(self.forest, self.closure)?;
        let options = self.ids.ext4(size, request.epoch, purpose, front)?;
        Ok(ext4::plan_with(&tree, &lent, &options)?)
    }

    /// Plans the FAT, with a copy of the manifest on it.
    fn boot_file_system(
        &self,
        demanded: &Demanded,
        boot_fat: Option<Files>,
        manifest: Finished,
        literals: &mut Literals,
    ) -> Result<Option<Fat<Content>>, Error> {
        let (Some((_, partition)), Some(mut files)) = (demanded.board.boot_fat(), boot_fat) else {
            return Ok(None);
        };
        files.literal(paths::MANIFEST_ON_FAT, manifest.fat_copy().as_bytes(), literals)?;
        Ok(Some(fat::plan(&files.into_root(), &self.ids.fat(partition, self.request.epoch)?)?))
    }

    /// Puts everything at its place in the image, and says what came of it.
    fn laid_out(
        &self,
        demanded: &Demanded,
        whole: Whole,
    ) -> Result<(u64, Vec<layout::Part>, Summary), Error> {
        let Whole { root, boot_fat, blobs, configuration } = whole;
        let board = &demanded.board;
        let layout = Assembly { board, ids: self.ids, root_len: root.len(), blobs };
        let len = match self.request.root_size {
            RootSize::Image(len) | RootSize::Card(len) => len,
            RootSize::Free(_) => layout.len(),
        };
        let partitions = summary::partitions(board, &self.ids.shown, boot_fat.as_ref(), &root);
        let inodes = root.summary();
        let parts = layout.parts(len, boot_fat, root)?;
        let mapped = parts.iter().flat_map(|part| part.layout.extents()).map(|extent| extent.len).sum();
        let clashes = summary::clashes(self.request.id_seed.as_deref(), &demanded.contract);
        let warnings = board.requires.iter().chain(&demanded.warnings).cloned().chain(clashes).collect();
        let closure = &self.forest.sources[..self.closure];
        let summary = Summary {
            schema: "nixflash-plan/1",
            board: board.name.clone(),
            toplevel: self.request.system.to_string(),
            nixos_version: demanded.toplevel().version.clone(),
            store_paths: closure.len(),
            nar_bytes: closure.iter().map(|packed| packed.info.nar_size).sum(),
            image_bytes: len,
            mapped_bytes: mapped,
            table: board.table,
            identifiers: self.ids.shown.clone(),
            partitions,
            root_inodes: inodes.inodes,
            root_free_inodes: inodes.free_inodes,
            firmware: self.places.iter().map(|(key, place)| (key.clone(), self.path(place.source))).collect(),
            configuration,
            warnings,
        };
        Ok((len, parts, summary))
    }

    fn path(&self, source: u32) -> String {
        self.forest.sources[ints::to_usize(u64::from(source))].info.path.to_string()
    }
}

impl Reserved<'_> {
    /// Writes the manifest into its room, now that the length of the root is known, and signs it.
    fn settle(self, root_len: u64, toplevel: &Toplevel, literals: &mut Literals) -> Finished {
        let finished = self.draft.finish(root_len);
        literals.settle(self.manifest, finished.text.as_bytes());
        if let Some((signing, literal)) = self.signature {
            let signature = manifest_text::signature(signing, &finished.text, toplevel);
            literals.settle(literal, signature.into_bytes());
        }
        finished
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

fn ext4_size(root_size: RootSize, board: &Board, free_inodes: u32) -> Result<ext4::Size, Error> {
    let start = board.root().start;
    match root_size {
        RootSize::Free(free_bytes) => Ok(ext4::Size::Smallest { free_bytes, free_inodes }),
        RootSize::Image(given) | RootSize::Card(given) => {
            let room = given.checked_sub(start + layout::tail(board.table)).filter(|room| *room > 0);
            Ok(ext4::Size::Exact(room.ok_or(Error::NoRoot { given, start })?))
        }
    }
}
