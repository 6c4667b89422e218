//! The plan: every decision about an image, made before a byte is written.

use super::boot;
use super::demand::{self, Demands};
use super::files::{Files, Literals};
use super::firmware::{self, Places};
use super::forest::{Forest, Packed};
use super::identity::Identity;
use super::provenance::{self, Composition};
use super::rootfs::{self, Root};
use super::toplevel::Toplevel;
use super::{Content, Error, Request, RootSize};
use crate::board::{Board, Loader, PartitionType, Role, TableKind};
use crate::extent::{Extent, Fill, Layout};
use crate::format::partition_table::{self, Gpt, GptPartition, Mbr, MbrPartition, SectorSize, Table};
use crate::format::{ext4, fat};
use crate::num;
use crate::store::Store;
use crate::tree::Node;
use std::sync::Arc;

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

/// Identifiers that a card carries.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identifiers {
    /// MBR: eight hexadecimal digits; GPT: a GUID.
    pub disk: String,
    /// Of each partition, as in `/dev/disk/by-partuuid`.
    pub partitions: Vec<String>,
    /// Label of the root.
    pub root_label: String,
    /// UUID of the root.
    pub root_uuid: String,
    /// Label of the FAT.
    pub boot_label: Option<String>,
    /// Volume id of the FAT, as `ABCD-1234`.
    pub boot_volume_id: Option<String>,
}

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

/// One part of an image, at its place.
pub struct Part {
    /// Where it begins in the image, in bytes.
    pub offset: u64,
    /// What it holds.
    pub layout: Box<dyn Layout<Content> + Send + Sync>,
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
}

/// Bytes of nixflash's own making at fixed places: a partition table, a gap of zeros.
struct Fixed {
    len: u64,
    extents: Vec<Extent<Content>>,
    bytes: Vec<u8>,
}

impl Fixed {
    fn bytes(bytes: Vec<u8>) -> Self {
        let len = num::to_u64(bytes.len());
        Self { len, extents: vec![Extent { offset: 0, len, fill: Fill::Encoded }], bytes }
    }

    fn zeros(len: u64) -> Self {
        Self { len, extents: vec![Extent { offset: 0, len, fill: Fill::Zeros }], bytes: Vec::new() }
    }
}

impl Layout<Content> for Fixed {
    fn len(&self) -> u64 {
        self.len
    }

    fn extents(&self) -> &[Extent<Content>] {
        &self.extents
    }

    fn encode(&self, _index: usize, out: &mut [u8]) {
        out.copy_from_slice(&self.bytes);
    }
}

/// Decides everything.
pub fn plan(request: Request) -> Result<Plan, Error> {
    let Request { board, system, stores, firmware, root_size, boot_size, free_inodes, epoch } = request;
    let board = with_boot_size(board, boot_size);
    let mut forest = Forest::of_closure(stores, &system)?;
    let closure = forest.sources.len();
    let toplevel = Toplevel::read(&forest, &system)?;
    let demands = Demands::of(&toplevel, &board)?;
    let places = firmware::find(&board, &firmware, &mut forest)?;
    let identity = Identity::new(&board.name, forest.sources[..closure].iter());
    let ids = Ids::new(&board, &demands, &identity).map_err(|message| Error::Demand {
        system: system.name().to_owned(),
        board: board.name.clone(),
        message,
    })?;

    let mut literals = Literals::default();
    let context = Context { board: &board, toplevel: &toplevel, forest: &forest, places: &places, epoch };
    let boot_fat = context.boot_fat(&ids, &mut literals)?;
    let manifest = provenance::manifest(&Composition {
        board: &board,
        toplevel: &toplevel,
        ids: &ids.shown,
        closure,
        forest: &forest,
        places: &places,
    });
    let mut files = Files::new(epoch);
    if board.loader == Loader::Extlinux {
        boot::extlinux::add(&toplevel, &forest, epoch, &mut files, &mut literals)?;
    }
    let root = Root {
        system: &system,
        closure: &forest.sources[..closure],
        wants_registration: toplevel.wants_registration,
        mount_points: &demands.mount_points,
        manifest: &provenance::text(&manifest),
    };
    root.build(epoch, &mut files, &mut literals)?;
    let firmware = shown_firmware(&places, &forest);
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
    let layout = Assembly { board: &board, ids: &ids, root_len: ext4.len() };
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
        warnings: demands.warnings,
    };
    Ok(Plan { image: Arc::new(Image { len, parts, stores, sources, trees, literals }), summary })
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
            let tail = if board.table == TableKind::Gpt { MIB } else { 0 };
            let room = given.checked_sub(start + tail).filter(|room| *room > 0);
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
    fn boot_fat(&self, ids: &Ids, literals: &mut Literals) -> Result<Option<fat::Fat<Content>>, Error> {
        let Some((_, partition)) = self.board.boot_fat() else { return Ok(None) };
        let mut files = Files::new(self.epoch);
        let dtbs = self.forest.resolve(&format!("{}/dtbs", self.toplevel.path)).map(|found| found.node);
        let copies = firmware::files(self.board, self.places, dtbs, self.forest)?;
        boot::raspberrypi::add(self.board, &copies, &mut files, literals)?;
        if self.board.loader == Loader::SystemdBoot {
            boot::systemd_boot::add(self.toplevel, self.forest, self.epoch, &mut files, literals)?;
        }
        let summary = provenance::summary(self.board, self.toplevel, &ids.shown);
        files.literal("/nixflash.json", provenance::text(&summary).as_bytes(), literals)?;
        Ok(Some(fat::plan(&files.into_root(), &ids.fat(partition, self.epoch)?)?))
    }
}

/// Identifiers in the form that the formats take.
struct Ids {
    shown: Identifiers,
    disk_id: u32,
    disk_guid: uuid::Uuid,
    part_guids: Vec<uuid::Uuid>,
    part_names: Vec<String>,
    root_uuid: uuid::Uuid,
    hash_seed: uuid::Uuid,
    volume_id: u32,
    boot_label: String,
}

impl Ids {
    fn new(board: &Board, demands: &Demands, identity: &Identity) -> Result<Self, String> {
        let root_number =
            u32::try_from(board.partitions.len()).map_err(|_| "too many partitions".to_owned())?;
        let boot = board.boot_fat();
        let mut ids = Self {
            shown: Identifiers {
                disk: String::new(),
                partitions: Vec::new(),
                root_label: demands.root.label.clone().unwrap_or_else(|| board.root().label.clone()),
                root_uuid: String::new(),
                boot_label: None,
                boot_volume_id: None,
            },
            disk_id: board.disk_id.unwrap_or_else(|| identity.id32("disk id")),
            disk_guid: identity.uuid("disk GUID"),
            part_guids: (1..=root_number).map(|n| identity.uuid(&format!("partition {n}"))).collect(),
            part_names: board.partitions.iter().map(|partition| partition.name.clone()).collect(),
            root_uuid: identity.uuid("root file system"),
            hash_seed: identity.uuid("root hash seed"),
            volume_id: identity.id32("boot volume id"),
            boot_label: String::new(),
        };
        if let Some((number, partition)) = boot {
            ids.boot_label = demands.boot.label.clone().unwrap_or_else(|| partition.label.clone());
            ids.volume_id = match &demands.boot.uuid {
                Some(uuid) => {
                    volume_id(uuid).ok_or_else(|| demand::unmet("UUID of a FAT", uuid, board.table))?
                }
                None => partition.volume_id.unwrap_or(ids.volume_id),
            };
            ids.shown.boot_label = Some(ids.boot_label.clone());
            ids.shown.boot_volume_id =
                Some(format!("{:04X}-{:04X}", ids.volume_id >> 16, ids.volume_id & 0xffff));
            ids.take_partition(number, &demands.boot, board.table)?;
        }
        if let Some(uuid) = &demands.root.uuid {
            ids.root_uuid =
                uuid::Uuid::try_parse(uuid).map_err(|_| demand::unmet("UUID", uuid, board.table))?;
        }
        ids.take_partition(root_number, &demands.root, board.table)?;
        ids.shown.root_uuid = ids.root_uuid.to_string();
        match board.table {
            TableKind::Mbr => {
                ids.shown.disk = format!("{:08x}", ids.disk_id);
                ids.shown.partitions =
                    (1..=root_number).map(|n| format!("{:08x}-{n:02x}", ids.disk_id)).collect();
            }
            TableKind::Gpt => {
                ids.shown.disk = ids.disk_guid.to_string();
                ids.shown.partitions = ids.part_guids.iter().map(ToString::to_string).collect();
            }
        }
        Ok(ids)
    }

    /// Takes over what is demanded of the table's entry for partition `number`.
    fn take_partition(
        &mut self,
        number: u32,
        demand: &demand::Demand,
        table: TableKind,
    ) -> Result<(), String> {
        let at = num::to_usize(u64::from(number)) - 1;
        if let Some(partuuid) = &demand.partuuid {
            let unmet = || demand::unmet("PARTUUID", partuuid, table);
            match table {
                TableKind::Mbr => self.disk_id = demand::disk_id_of(partuuid, number).ok_or_else(unmet)?,
                TableKind::Gpt => {
                    self.part_guids[at] = uuid::Uuid::try_parse(partuuid).map_err(|_| unmet())?
                }
            }
        }
        if let Some(name) = &demand.partlabel {
            match table {
                TableKind::Mbr => return Err(demand::unmet("PARTLABEL", name, table)),
                TableKind::Gpt => self.part_names[at].clone_from(name),
            }
        }
        Ok(())
    }

    fn ext4(&self, size: ext4::Size, epoch: u32, purpose: ext4::Purpose) -> Result<ext4::Options, Error> {
        Ok(ext4::Options {
            size,
            uuid: *self.root_uuid.as_bytes(),
            hash_seed: *self.hash_seed.as_bytes(),
            label: ext4::Label::new(self.shown.root_label.as_bytes())?,
            epoch,
            purpose,
        })
    }

    fn fat(&self, partition: &crate::board::Partition, epoch: u32) -> Result<fat::Options, Error> {
        Ok(fat::Options {
            size: partition.size.unwrap_or(0),
            label: fat::Label::new(&self.boot_label)?,
            volume_id: self.volume_id,
            kind: fat::Kind::Auto,
            // cannot fail: profiles keep partitions below 2^41 bytes
            hidden_sectors: u32::try_from(partition.start / SECTOR).unwrap_or(0),
            epoch,
        })
    }
}

/// A volume id as fstab writes it: `ABCD-1234`.
fn volume_id(text: &str) -> Option<u32> {
    let (high, low) = text.split_once('-')?;
    if high.len() != 4 || low.len() != 4 {
        return None;
    }
    u32::from_str_radix(&format!("{high}{low}"), 16).ok()
}

/// Puts table, gaps and file systems at their places.
struct Assembly<'a> {
    board: &'a Board,
    ids: &'a Ids,
    root_len: u64,
}

impl Assembly<'_> {
    /// The shortest image: an MBR ends with the root, a GPT has its backup in the last MiB.
    fn len(&self) -> u64 {
        let end = self.board.root().start + self.root_len;
        match self.board.table {
            TableKind::Mbr => end,
            TableKind::Gpt => end.next_multiple_of(MIB) + MIB,
        }
    }

    fn table(&self) -> Table {
        let sectors = |partition: &crate::board::Partition| partition.size.unwrap_or(self.root_len) / SECTOR;
        let partitions = self.board.partitions.iter();
        match self.board.table {
            TableKind::Mbr => Table::Mbr(Mbr {
                disk_id: self.ids.disk_id,
                partitions: (1..)
                    .zip(partitions)
                    .map(|(number, partition)| MbrPartition {
                        number,
                        start: partition.start / SECTOR,
                        sectors: sectors(partition),
                        kind: match partition.kind {
                            PartitionType::Mbr(kind) => kind,
                            PartitionType::Gpt(_) => 0,
                        },
                        active: partition.active,
                    })
                    .collect(),
            }),
            TableKind::Gpt => Table::Gpt(Gpt {
                disk_guid: self.ids.disk_guid,
                partitions: (1..)
                    .zip(partitions)
                    .zip(self.ids.part_guids.iter().zip(&self.ids.part_names))
                    .map(|((number, partition), (guid, name))| GptPartition {
                        number,
                        start: partition.start / SECTOR,
                        sectors: sectors(partition),
                        type_guid: match partition.kind {
                            PartitionType::Gpt(guid) => guid,
                            PartitionType::Mbr(_) => uuid::Uuid::nil(),
                        },
                        unique_guid: *guid,
                        name: name.clone(),
                        attributes: if partition.active { 1 << 2 } else { 0 },
                    })
                    .collect(),
            }),
        }
    }

    /// All parts in ascending order; what lies between partitions is zeros, so that no boot loader of an earlier
    /// life of the card survives there.
    fn parts(
        &self,
        len: u64,
        boot: Option<fat::Fat<Content>>,
        root: ext4::Ext4<Content>,
    ) -> Result<Vec<Part>, Error> {
        let mut parts: Vec<Part> = partition_table::encode(&self.table(), len, SectorSize::S512)?
            .into_iter()
            .map(|(offset, bytes)| Part { offset, layout: Box::new(Fixed::bytes(bytes)) })
            .collect();
        if let (Some((_, partition)), Some(fat)) = (self.board.boot_fat(), boot) {
            parts.push(Part { offset: partition.start, layout: Box::new(fat) });
        }
        parts.push(Part { offset: self.board.root().start, layout: Box::new(root) });
        parts.sort_by_key(|part| part.offset);
        let mut filled: Vec<Part> = Vec::new();
        let mut at = 0;
        for part in parts {
            if part.offset > at {
                filled.push(Part { offset: at, layout: Box::new(Fixed::zeros(part.offset - at)) });
            }
            at = part.offset + part.layout.len();
            filled.push(part);
        }
        if len > at {
            filled.push(Part { offset: at, layout: Box::new(Fixed::zeros(len - at)) });
        }
        Ok(filled)
    }
}
