//! Where table, file systems and the gaps between them lie in an image.

use super::ids::Ids;
use crate::board::{Board, PartitionType, TableKind};
use crate::compose::content::Content;
use crate::compose::error::Error;
use crate::extent::{Extent, Fill, Layout};
use crate::format::disk::partition_table;
use crate::format::disk::partition_table::{Gpt, GptPartition, Mbr, MbrPartition, SectorSize, Table};
use crate::format::disk::{ext4, fat};
use crate::ints;

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

/// One part of an image, at its place.
pub struct Part {
    /// Where it begins in the image, in bytes.
    pub offset: u64,
    /// What it holds.
    pub layout: Box<dyn Layout<Content> + Send + Sync>,
}

/// Bytes of nixflash's own making at fixed places: a partition table, a gap of zeros.
struct Fixed {
    len: u64,
    extents: Vec<Extent<Content>>,
    bytes: Vec<u8>,
}

impl Fixed {
    fn bytes(bytes: Vec<u8>) -> Self {
        let len = ints::to_u64(bytes.len());
        Self { len, extents: vec![Extent { offset: 0, len, fill: Fill::Encoded }], bytes }
    }

    /// One file, padded with zeros to whole sectors.
    fn content(content: Content, len: u64) -> Self {
        let padded = len.next_multiple_of(SECTOR);
        let fill = Fill::Content { content, at: 0, len };
        Self { len: padded, extents: vec![Extent { offset: 0, len: padded, fill }], bytes: Vec::new() }
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

/// A boot loader outside of all partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Where it begins in the image, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// What it is.
    pub content: Content,
}

/// What follows the root, in bytes: a GPT has its backup in the last MiB.
pub const fn tail(table: TableKind) -> u64 {
    match table {
        TableKind::Mbr => 0,
        TableKind::Gpt => MIB,
    }
}

/// Puts table, gaps and file systems at their places.
pub struct Assembly<'a> {
    /// The board.
    pub board: &'a Board,
    /// Its identifiers.
    pub ids: &'a Ids,
    /// Length of the root in bytes.
    pub root_len: u64,
    /// Boot loaders outside of all partitions.
    pub blobs: Vec<Blob>,
}

impl Assembly<'_> {
    /// Length of the shortest image.
    pub fn len(&self) -> u64 {
        let end = self.board.root().start + self.root_len;
        match self.board.table {
            TableKind::Mbr => end,
            TableKind::Gpt => end.next_multiple_of(MIB) + tail(TableKind::Gpt),
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
    pub fn parts(
        &self,
        len: u64,
        boot: Option<fat::Fat<Content>>,
        root: ext4::Ext4<Content>,
    ) -> Result<Vec<Part>, Error> {
        let mut parts: Vec<Part> = partition_table::encode(&self.table(), len, SectorSize::S512)?
            .into_iter()
            .map(|(offset, bytes)| Part { offset, layout: Box::new(Fixed::bytes(bytes)) })
            .collect();
        parts.extend(self.blobs.iter().filter(|blob| blob.len > 0).map(|blob| Part {
            offset: blob.offset,
            layout: Box::new(Fixed::content(blob.content, blob.len)),
        }));
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
