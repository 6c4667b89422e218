//! How long an image says that it is: by its partition table, or by its file system where it has no table.

use crate::format::disk::partition_table::{Table, read};
use crate::image::{Piece, Source, SourceError};
use crate::ints;
use crate::stream::ReadAt;
use std::io;

/// The length that an image needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnLen {
    /// Who says so.
    pub what: &'static str,
    /// In bytes.
    pub needed: u64,
}

/// The first bytes of an image of unknown length; what is behind them reads as zeros.
struct Head<'a>(&'a [u8]);

impl ReadAt for Head<'_> {
    fn size(&self) -> u64 {
        1 << 60
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        buf.fill(0);
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(())
    }
}

fn le(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(len)?)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// What the first bytes of an image say of its length.
pub(super) fn of(start: &[u8]) -> Option<OwnLen> {
    let gpt = [512_usize, 4096].into_iter().find_map(|sector| alternate(start, sector));
    let table = read(&Head(start)).ok().and_then(|reading| {
        let bytes = reading.sector.bytes();
        let ends = match &reading.table {
            Some(Table::Mbr(mbr)) => {
                mbr.partitions.iter().map(|p| p.start.saturating_add(p.sectors).saturating_mul(bytes)).max()
            }
            Some(Table::Gpt(gpt)) => {
                gpt.partitions.iter().map(|p| p.start.saturating_add(p.sectors).saturating_mul(bytes)).max()
            }
            None => None,
        };
        ends.map(|needed| OwnLen { what: "its last partition", needed })
    });
    let longest = gpt.into_iter().chain(table).max_by_key(|own| own.needed);
    longest
        .or_else(|| ext4(start))
        .or_else(|| iso(start))
        .or_else(|| fat(start))
        .filter(|own| own.needed < 1 << 60)
}

/// Where the header of a GPT says that its backup is, in the last sector.
fn alternate(start: &[u8], sector: usize) -> Option<OwnLen> {
    let header = start.get(sector..).filter(|header| header.starts_with(b"EFI PART"))?;
    let needed = le(header, 32, 8)?.checked_add(1)?.checked_mul(ints::to_u64(sector))?;
    Some(OwnLen { what: "the backup of its GPT", needed })
}

/// Superblock at 1024: blocks at 4 and, with the feature 64bit (0x80 of `s_feature_incompat`), at 0x150; log of the block
/// size at 24; magic at 56.
fn ext4(start: &[u8]) -> Option<OwnLen> {
    let superblock = start.get(1024..2048).filter(|superblock| superblock[56..58] == [0x53, 0xef])?;
    let high = if le(superblock, 0x60, 4)? & 0x80 == 0 { 0 } else { le(superblock, 0x150, 4)? };
    let block = 1024_u64.checked_shl(u32::try_from(le(superblock, 24, 4)?).ok().filter(|log| *log <= 6)?)?;
    let needed = (high << 32 | le(superblock, 4, 4)?).checked_mul(block)?;
    Some(OwnLen { what: "its ext4", needed })
}

/// Primary volume descriptor at 32768: volume space at 80, in blocks whose length is at 128.
fn iso(start: &[u8]) -> Option<OwnLen> {
    let descriptor = start.get(32768..).filter(|descriptor| descriptor.starts_with(b"\x01CD001"))?;
    let needed = le(descriptor, 80, 4)?.checked_mul(le(descriptor, 128, 2)?)?;
    Some(OwnLen { what: "its ISO 9660", needed })
}

/// Boot sector: a jump, bytes of a sector at 11, sectors at 19 or 32.
fn fat(start: &[u8]) -> Option<OwnLen> {
    let sector = start.get(..512).filter(|sector| matches!(sector[0], 0xeb | 0xe9))?;
    let (bytes, short) = (le(sector, 11, 2)?, le(sector, 19, 2)?);
    let is_fat = matches!(bytes, 512 | 1024 | 2048 | 4096) && matches!(sector[16], 1 | 2);
    let sectors = if short == 0 { le(sector, 32, 4)? } else { short };
    is_fat.then(|| OwnLen { what: "its FAT", needed: sectors.saturating_mul(bytes) })
}

/// An image whose length is known at its end only.
pub(super) struct Whole<S> {
    inner: S,
    own: OwnLen,
    position: u64,
}

impl<S: Source> Whole<S> {
    /// Demands that the image is as long as it says.
    pub fn new(inner: S, own: OwnLen) -> Self {
        Self { inner, own, position: 0 }
    }
}

impl<S: Source> Source for Whole<S> {
    fn len(&self) -> Option<u64> {
        self.inner.len()
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        let (own, position) = (self.own, &mut self.position);
        match self.inner.next()? {
            Some(piece) => {
                *position += match piece {
                    Piece::Data(bytes) => ints::to_u64(bytes.len()),
                    Piece::Zeros(len) | Piece::Skip(len) => len,
                };
                Ok(Some(piece))
            }
            None if *position < own.needed => {
                let text = format!(
                    "it has {position} bytes, but {} reaches to byte {}: it is incomplete",
                    own.what, own.needed
                );
                Err(SourceError::Bad(text.into()))
            }
            None => Ok(None),
        }
    }
}
