//! The plan: every decision about an image, made before a byte is written.

use super::assembly::{self, Assembly, Part};
use super::boot;
use super::boot_files::BootFiles;
use super::carried;
use super::channel::Pin;
use super::check::generations;
use super::configuration::{Placed, Root as InRoot};
use super::contract::{Contract, Loading, Place};
use super::files::{Files, Literals};
use super::firmware::{self, Places};
use super::forest::{Forest, Packed};
use super::identifiers::{Identifiers, Ids};
use super::identity::Identity;
use super::landing::{Landed, Settled};
use super::provenance::{self, Composition, Draft, Recipe};
use super::raw;
use super::rootfs::{self, Root};
use super::toplevel::Toplevel;
use super::{Content, Embed, Error, Request, RootSize};
use crate::board::{Board, Role, TableKind};
use crate::extent::Layout;
use crate::format::store_path::{STORE_DIR, StorePath};
use crate::format::{ext4, fat};
use crate::num;
use crate::store::Store;
use crate::tree::Node;
use std::sync::Arc;

/// One partition of a plan, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionSummary {
    /// What it is for.
    pub role: Role,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub len: u64,
    /// The kind of file system.
    pub file_system: String,
    /// Its label.
    pub label: String,
    /// Bytes free for files.
    pub free: u64,
}

/// A plan for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Names the form: `nixflash-plan/1`.
    pub schema: &'static str,
    /// The board.
    pub board: String,
    /// The toplevel.
    pub toplevel: String,
    /// The NixOS version.
    pub nixos_version: String,
    /// How many store paths the closure has.
    pub store_paths: usize,
    /// The sum of their NARs, in bytes.
    pub nar_bytes: u64,
    /// Length of the image in bytes.
    pub image_bytes: u64,
    /// Bytes of it that are data or zeros to rely on.
    pub mapped_bytes: u64,
    /// The kind of partition table.
    pub table: TableKind,
    /// Identifiers.
    pub identifiers: Identifiers,
    /// The partitions.
    pub partitions: Vec<PartitionSummary>,
    /// Inodes on the root, and how many are free.
    pub root_inodes: u64,
    /// Free inodes on the root.
    pub root_free_inodes: u64,
    /// Packages of firmware: key and path.
    pub firmware: Vec<(String, String)>,
    /// The configuration that is embedded.
    pub configuration: Option<Placed>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

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
    let mut warnings = contract.warnings();
    let (places, pins) = firmware::find(&board, &firmware, channels.as_ref(), &mut forest)?;
    let identity = Identity::new(&board.name, forest.sources[..closure].iter(), id_seed.as_deref());
    let ids = Ids::new(&board, &contract, &identity).map_err(|message| Error::Demand {
        system: system.name().to_owned(),
        board: board.name.clone(),
        message,
    })?;

    let mut literals = Literals::default();
    let context = Context {
        board: &board,
        generations: &generations,
        toplevel,
        loading: &contract.loading,
        forest: &forest,
        places: &places,
        epoch,
    };
    let boot_fat = context.boot_fat(&mut literals)?;
    let mut files = Files::new(epoch);
    context.boot_on_root(&mut files, &mut literals)?;
    let mut boot_files = BootFiles::default();
    if let (Some((number, _)), Some(fat)) = (board.boot_fat(), &boot_fat) {
        boot_files.add(num::to_usize(u64::from(number)), "", fat.root(), &literals);
    }
    boot_files.add(board.partitions.len(), "", files.root(), &literals);
    let blobs = raw::blobs(&board, &places, &forest)?;
    for blob in &blobs {
        boot_files.add_raw(blob.offset, blob.len, blob.content, &literals);
    }
    let boot_files = boot_files.digest(&forest)?;
    let revision = carried::revision(toplevel, &forest)?;
    let system_revision = revision.as_deref();
    let embedded = match &record.configuration {
        Embed::Nothing => None,
        Embed::Carried => carried::configuration(toplevel, &forest, system_revision, &mut warnings)?,
        Embed::This(configuration) => Some(configuration.clone()),
    };
    let configuration = match embedded {
        Some(found) => {
            let place = if contract.mounts.has_root_in_memory() { InRoot::InMemory } else { InRoot::OnCard };
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
    let manifest = files.room(provenance::MANIFEST, draft.room(), &mut literals)?;
    let signature = match &record.signing {
        Some(signing) => {
            let len = provenance::signature(signing, "", toplevel).len();
            Some((signing, files.room(provenance::SIGNATURE, len, &mut literals)?))
        }
        None => None,
    };
    let root = Root {
        generations: systems,
        closure: &forest.sources[..closure],
        wants_registration: toplevel.wants_registration,
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
    files.put(STORE_DIR, rootfs::store_directory(paths.zip(trees).collect())?)?;

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
    let mut trees = rootfs::store_trees(tree, top);
    trees.extend(firmware_trees);
    let ext4_summary = ext4.summary();
    let finished = draft.finish(ext4.len());
    literals.settle(manifest, finished.text.as_bytes());
    if let Some((signing, literal)) = signature {
        literals.settle(literal, provenance::signature(signing, &finished.text, toplevel).into_bytes());
    }
    let boot_fat = match (board.boot_fat(), boot_fat) {
        (Some((_, partition)), Some(mut files)) => {
            files.literal(provenance::FAT_COPY, finished.fat_copy().as_bytes(), &mut literals)?;
            Some(fat::plan(&files.into_root(), &ids.fat(partition, epoch)?)?)
        }
        _ => None,
    };
    let layout = Assembly { board: &board, ids: &ids, root_len: ext4.len(), blobs };
    let len = match root_size {
        RootSize::Image(len) | RootSize::Card(len) => len,
        RootSize::Free(_) => layout.len(),
    };
    let mut partitions = Vec::new();
    if let (Some((_, partition)), Some(fat)) = (board.boot_fat(), &boot_fat) {
        partitions.push(PartitionSummary {
            role: partition.role,
            start: partition.start,
            len: fat.len(),
            file_system: fat.summary().kind.to_string(),
            label: ids.shown.boot_label.clone().unwrap_or_default(),
            free: fat.summary().free_bytes,
        });
    }
    partitions.push(PartitionSummary {
        role: Role::Root,
        start: root_start,
        len: ext4.len(),
        file_system: "ext4".to_owned(),
        label: ids.shown.root_label.clone(),
        free: ext4_summary.free_bytes(),
    });
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
            .chain(clashes(id_seed.as_deref(), &contract))
            .collect(),
    };
    let settled = landed.settle(&parts);
    Ok(Plan {
        image: Arc::new(Image { len, parts, stores, sources, trees, literals }),
        settled,
        summary,
        pins,
    })
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

/// Identifiers that cards of one system share although the user wants them to differ.
fn clashes(seed: Option<&str>, contract: &Contract) -> Vec<String> {
    if seed.is_none() {
        return Vec::new();
    }
    let demands = [&contract.root, &contract.boot];
    let fixed = demands.iter().flat_map(|demand| {
        [
            ("label", &demand.label),
            ("UUID", &demand.uuid),
            ("PARTUUID", &demand.partuuid),
            ("PARTLABEL", &demand.partlabel),
        ]
    });
    let fixed = fixed.filter_map(|(what, value)| Some((what, value.as_ref()?)));
    let say = |(what, value)| {
        format!(
            "the system demands the {what} {value}: two such cards in one machine clash, whatever --id-seed says"
        )
    };
    fixed.map(say).collect()
}

fn ext4_size(root_size: RootSize, start: u64, board: &Board, free_inodes: u32) -> Result<ext4::Size, Error> {
    match root_size {
        RootSize::Free(free_bytes) => Ok(ext4::Size::Smallest { free_bytes, free_inodes }),
        RootSize::Image(given) | RootSize::Card(given) => {
            let room = given.checked_sub(start + assembly::tail(board.table)).filter(|room| *room > 0);
            Ok(ext4::Size::Exact(room.ok_or(Error::NoRoot { given, start })?))
        }
    }
}

fn shown_firmware(places: &Places, forest: &Forest) -> Vec<(String, String)> {
    let path = |source: u32| forest.sources[num::to_usize(u64::from(source))].info.path.to_string();
    places.iter().map(|(key, place)| (key.clone(), path(place.source))).collect()
}

/// What the files of a boot FAT are made of.
struct Context<'a> {
    board: &'a Board,
    generations: &'a [Toplevel],
    toplevel: &'a Toplevel,
    loading: &'a Loading,
    forest: &'a Forest,
    places: &'a Places,
    epoch: u32,
}

impl Context<'_> {
    /// The boot loader's files that lie on the ext4.
    fn boot_on_root(&self, files: &mut Files, literals: &mut Literals) -> Result<(), Error> {
        let Loading::Extlinux(builders) = self.loading else { return Ok(()) };
        for (flags, place) in builders {
            if let Place::Root(path) = place {
                let target = (flags, path.as_str());
                boot::extlinux::add(self.generations, target, (self.forest, self.epoch), files, literals)?;
            }
        }
        Ok(())
    }

    /// The files of the FAT, without what nixflash says of the card.
    fn boot_fat(&self, literals: &mut Literals) -> Result<Option<Files>, Error> {
        if self.board.boot_fat().is_none() {
            return Ok(None);
        }
        let mut files = Files::new(self.epoch);
        let dtbs = self.forest.resolve(&format!("{}/dtbs", self.toplevel.path)).map(|found| found.node);
        let copies = firmware::files(self.board, self.places, dtbs, self.forest)?;
        boot::raspberrypi::add(self.board, &copies, &mut files, literals)?;
        let world = (self.forest, self.epoch);
        match self.loading {
            Loading::Extlinux(builders) => {
                for (flags, place) in builders {
                    if let Place::Boot(path) = place {
                        let target = (flags, path.as_str());
                        boot::extlinux::add(self.generations, target, world, &mut files, literals)?;
                    }
                }
            }
            Loading::SystemdBoot(builder) => {
                boot::systemd_boot::add(self.generations, builder, world, &mut files, literals)?;
            }
            Loading::RaspberryPi(builder) => {
                boot::direct::add(self.generations, builder, self.forest, &mut files, literals)?;
            }
        }
        Ok(Some(files))
    }
}
