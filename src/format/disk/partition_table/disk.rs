//! A disk in sectors, of which every read is bounded.

use super::table::SectorSize;
use crate::ints;
use crate::stream::ReadAt;
use std::io;

/// The disk could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the partition table at byte {offset}: {source}")]
pub struct ReadError {
    /// The first byte that was wanted, from the start.
    pub offset: u64,
    /// What the operating system says.
    pub source: io::Error,
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// A disk in sectors.
pub(crate) struct Disk<'a> {
    pub inner: &'a dyn ReadAt,
    pub sector: SectorSize,
}

impl Disk<'_> {
    /// How many whole sectors there are.
    pub fn sectors(&self) -> u64 {
        self.inner.size() / self.sector.bytes()
    }

    /// Bytes of a sector.
    pub const fn sector_bytes(&self) -> u64 {
        self.sector.bytes()
    }

    /// A sector, `None` when it is not on the disk.
    pub fn sector(&self, lba: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.bytes(lba, self.sector.bytes())
    }

    /// So many bytes from a sector on, `None` when they are not all on the disk. The caller bounds `len`.
    pub fn bytes(&self, lba: u64, len: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(offset) = lba.checked_mul(self.sector.bytes()) else { return Ok(None) };
        if offset.checked_add(len).is_none_or(|end| end > self.inner.size()) {
            return Ok(None);
        }
        let mut bytes = vec![0; ints::to_usize(len)];
        self.inner.read_exact_at(&mut bytes, offset).map_err(|source| ReadError { offset, source })?;
        Ok(Some(bytes))
    }
}
