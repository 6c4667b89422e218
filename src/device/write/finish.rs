//! What is written after the verification: the backup of a table, the grown file system, and last the first page.

use super::fault::{Fault, Left};
use super::page::{PAGE, ZEROS};
use super::report::Growth;
use super::session::{Session, differs};
use crate::device::buffer::Buffer;
use crate::device::disk::{ALIGN, Disk, Medium, read_exact};
use crate::device::read_back::block::HEAD;
use crate::device::read_back::scan::is_zero;
use crate::format::disk::ext4::change::grow::{Changes, grow as grow_ext4};
use crate::format::disk::partition_table::{Relocated, grow as grow_table, hindrance, relocate};
use crate::ints;
use crate::stream::ReadAt;
use std::io;

/// A partition of an open disk.
struct Within<'a> {
    disk: &'a dyn Disk,
    start: u64,
    len: u64,
}

impl ReadAt for Within<'_> {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut aligned = Buffer::new(buf.len());
        read_exact(self.disk, &mut aligned, self.start + offset)?;
        buf.copy_from_slice(&aligned);
        Ok(())
    }
}

impl Session<'_> {
    /// Writes the last MiB, then the first without its first page, then that page: each flushed and read back.
    pub(super) fn finish(&mut self, image_len: u64) -> Result<bool, Fault> {
        self.check_interrupt()?;
        match (self.options.grow, self.disk.medium()) {
            (true, Medium::Card) => self.grow()?,
            (true, Medium::File) => self.ungrown = Some("a file has no end that it could reach"),
            (false, _) => {}
        }
        let moved = match self.disk.medium() {
            Medium::Card => relocate(&mut self.head, self.disk.len(), self.options.sector),
            Medium::File => None,
        };
        if let Some(moved) = &moved {
            self.take_backup(moved)?;
        }
        // From the first sign of a table on: unless it can be wiped again, the card may look complete.
        self.left = Left::Unknown;
        for kept in [Kept::Tail, Kept::Head, Kept::FirstPage] {
            self.write_kept(kept)?;
        }
        if self.disk.medium() == Medium::File {
            self.disk.set_len(image_len).map_err(|source| Fault::Write {
                offset: image_len,
                len: 0,
                source,
            })?;
            self.sync()?;
        }
        Ok(moved.is_some())
    }

    /// Makes the last partition reach the end, and the ext4 in it, which is all on the card already.
    fn grow(&mut self) -> Result<(), Fault> {
        let (len, sector) = (self.disk.len(), self.options.sector);
        let Some(partition) = grow_table(&mut self.head, len, sector) else {
            self.ungrown = Some(hindrance(&self.head, len, sector));
            return Ok(());
        };
        let mut growth = Growth { number: partition.number, len: partition.len, left: None };
        let found = if partition.start < HEAD {
            Err("it begins in the first MiB".to_owned())
        } else {
            grow_ext4(&Within { disk: self.disk, start: partition.start, len: partition.len }, partition.len)
                .map_err(|error| error.to_string())
        };
        match found {
            Ok(changes) => {
                self.change(partition.start, changes.map(|(_, changes)| changes).unwrap_or_default())?
            }
            Err(why) => growth.left = Some(why),
        }
        self.growth = Some(growth);
        Ok(())
    }

    /// Writes blocks, flushes, and reads them back.
    fn change(&self, start: u64, changes: Changes) -> Result<(), Fault> {
        for (offset, bytes) in &changes {
            let mut buffer = Buffer::new(bytes.len());
            buffer.copy_from_slice(bytes);
            self.write(&buffer, start + offset)?;
        }
        self.sync()?;
        for (offset, bytes) in &changes {
            let mut back = Buffer::new(bytes.len());
            self.read(&mut back, start + offset)?;
            if back[..] != bytes[..] {
                return Err(differs(start + offset, bytes.len()));
            }
        }
        Ok(())
    }

    /// Puts a moved backup into the last MiB and clears the old one.
    fn take_backup(&mut self, moved: &Relocated) -> Result<(), Fault> {
        if let Some((from, len)) = moved.stale {
            let to = from.saturating_add(len).min(self.tail_at);
            let from_head = ints::to_usize(from).min(self.head.len());
            let to_head = ints::to_usize(to).min(self.head.len());
            self.head[from_head..to_head].fill(0);
            self.clear(from.max(ints::to_u64(self.head.len())), to)?;
            let tail = |at: u64| ints::to_usize(at.saturating_sub(self.tail_at)).min(self.tail.len());
            let (from, to) = (tail(from), tail(from.saturating_add(len)));
            self.tail[from..to].fill(0);
        }
        // The backup is shorter than a MiB, so it lies in the tail; on tiny disks, partly in the head.
        for (byte, at) in moved.backup.iter().zip(moved.offset..) {
            let place = match at.checked_sub(self.tail_at) {
                Some(at) => self.tail.get_mut(ints::to_usize(at)),
                None => self.head.get_mut(ints::to_usize(at)),
            };
            *place.ok_or(Fault::TooLong { len: self.disk.len() })? = *byte;
        }
        Ok(())
    }

    /// Writes zeros over sectors between head and tail.
    fn clear(&self, from: u64, to: u64) -> Result<(), Fault> {
        let len = ints::to_usize(to.saturating_sub(from)).min(ZEROS);
        if len == 0 {
            return Ok(());
        }
        self.write(&self.zeros[..len], from)?;
        self.sync()?;
        let mut back = Buffer::new(len);
        self.read(&mut back, from)?;
        if is_zero(&back) { Ok(()) } else { Err(differs(from, len)) }
    }

    fn write_kept(&self, kept: Kept) -> Result<(), Fault> {
        let page = self.head.len().min(ALIGN);
        let (bytes, offset) = match kept {
            Kept::Tail => (&self.tail[..], self.tail_at),
            Kept::Head => (&self.head[page..], PAGE),
            Kept::FirstPage => (&self.head[..page], 0),
        };
        if bytes.is_empty() {
            return Ok(());
        }
        self.write(bytes, offset)?;
        self.sync()?;
        let mut back = Buffer::new(bytes.len());
        self.read(&mut back, offset)?;
        if &back[..] == bytes { Ok(()) } else { Err(differs(offset, bytes.len())) }
    }
}

/// What is written after the verification, in this order.
#[derive(Clone, Copy)]
enum Kept {
    Tail,
    Head,
    FirstPage,
}
