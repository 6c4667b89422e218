//! The plan: every decision about an image, made before a byte is written.

use super::assembly::{self, Assembly, Part};
use super::boot;
use super::boot_files::BootFiles;
use super::channel::Pin;
use super::demand::Demands;
use super::files::{Files, Literals};
use super::firmware::{self, Places};
use super::forest::{Forest, Packed};
use super::identifiers::{Identifiers, Ids};
use super::identity::Identity;
use super::provenance::{self, Composition, Draft, Recipe};
use super::raw;
use super::rootfs::{self, Root};
use super::toplevel::Toplevel;
use super::{Content, Error, Request, RootSize};
use crate::board::{Board, Loader, Role, TableKind};
use crate::extent::Layout;
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
    /// What it says of itself.
    pub summary: Summary,
    /// What was taken from a channel.
    pub pins: Vec<Pin>,
}

/// Decides everything.
pub fn plan(request: Request) -> Result<Plan, Error> {
    let Request { board, system, stores, firmware, channels, .. } = request;
    let Request { root_size, boot_size, free_inodes, epoch, record, .. } = request;
    let board = with_boot_size(board, boot_size);
    let mut forest = Forest::of_closure(stores, &system)?;
    let closure = forest.sources.len();
    let toplevel = Toplevel::read(&forest, &system)?;
    let demands = Demands::of(&toplevel, &board)?;
    let (places, pins) = firmware::find(&board, &firmware, channels.as_ref(), &mut forest)?;
    let identity = Identity::new(&board.name, forest.sources[..closure].iter());
    let ids = Ids::new(&board, &demands, &identity).map_err(|message| Error::Demand {
        system: system.name().to_owned(),
        board: board.name.clone(),
        message,
    })?;

    let mut literals = Literals::default();
    let context = Context { board: &board, toplevel: &toplevel, forest: &forest, places: &places, epoch };
    let boot_fat = context.boot_fat(&mut literals)?;
    let mut files = Files::new(epoch);
    if board.loader == Loader::Extlinux {
        boot::extlinux::add(&toplevel, &forest, epoch, &mut files, &mut literals)?;
    }
    let mut boot_files = BootFiles::default();
    if let (Some((number, _)), Some(fat)) = (board.boot_fat(), &boot_fat) {
        boot_files.add(num::to_usize(u64::from(number)), "", fat.root(), &literals);
    }
    boot_files.add(board.partitions.len(), "", files.root(), &literals);
    let boot_files = boot_files.digest(&forest)?;
    let recipe = Recipe { root_size, boot_size, free_inodes, epoch, record: &record };
    let draft = Draft::new(&Composition {
        board: &board,
        toplevel: &toplevel,
        ids: &ids,
        closure,
        forest: &forest,
        places: &places,
        boot_files: &boot_files,
        recipe: &recipe,
    });
    let manifest = files.room(provenance::MANIFEST, draft.room(), &mut literals)?;
    let root = Root {
        system: &system,
        closure: &forest.sources[..closure],
        wants_registration: toplevel.wants_registration,
        mount_points: &demands.mount_points,
    };
    root.build(epoch, &mut files, &mut literals)?;
    let firmware = shown_firmware(&places, &forest);
    let blobs = raw::blobs(&board, &places, &forest)?;
    let mut trees = forest.take_trees();
    let Forest { stores, sources, .. } = forest;
    let firmware_trees = trees.split_off(closure);
    let paths = sources[..closure].iter().map(|packed| packed.info.path.clone());
    files.put("/nix/store", rootfs::store_directory(paths.zip(trees).collect())?)?;

    let root_start = board.root().start;
    let size = ext4_size(root_size, root_start, &board, free_inodes)?;
    let purpose = match root_size {
        RootSize::Card(_) => ext4::Purpose::Card,
        RootSize::Free(_) | RootSize::Image(_) => ext4::Purpose::Image,
    };
    let ext4 = ext4::plan(files.root(), &ids.ext4(size, epoch, purpose)?)?;
    // The trees go out of the root again: contents are compared with them while they move.
    let mut trees = rootfs::store_trees(files.into_root());
    trees.extend(firmware_trees);
    let ext4_summary = ext4.summary();
    let finished = draft.finish(ext4.len());
    literals.settle(manifest, finished.text.as_bytes());
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
        warnings: board.requires.iter().cloned().chain(demands.warnings).collect(),
    };
    Ok(Plan { image: Arc::new(Image { len, parts, stores, sources, trees, literals }), summary, pins })
}

/// Gives the FAT another length and moves what follows.
fn with_boot_size(mut board: Board, boot_size: Option<u64>) -> Board {
    let Some(size) = boot_size else { return board };
    let Some(at) = board.partitions.iter().position(|partition| partition.role != Role::Root) else {
        return board;
    };
    let old = board.partitions[at].size.unwrap_or(0);
    board.partitions[at].size = Some(size);
    for later in &mut board.partitions[at + 1..] {
        later.start = later.start - old + size;
    }
    board
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
    toplevel: &'a Toplevel,
    forest: &'a Forest,
    places: &'a Places,
    epoch: u32,
}

impl Context<'_> {
    /// The files of the FAT, without what nixflash says of the card.
    fn boot_fat(&self, literals: &mut Literals) -> Result<Option<Files>, Error> {
        if self.board.boot_fat().is_none() {
            return Ok(None);
        }
        let mut files = Files::new(self.epoch);
        let dtbs = self.forest.resolve(&format!("{}/dtbs", self.toplevel.path)).map(|found| found.node);
        let copies = firmware::files(self.board, self.places, dtbs, self.forest)?;
        boot::raspberrypi::add(self.board, &copies, &mut files, literals)?;
        if self.board.loader == Loader::SystemdBoot {
            boot::systemd_boot::add(self.toplevel, self.forest, self.epoch, &mut files, literals)?;
        }
        Ok(Some(files))
    }
}
