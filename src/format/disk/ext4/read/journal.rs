//! The journal, replayed in memory: what a power-off left in it is laid over what is on the device.
//!
//! ```text
//! header      magic c03b3998 | type: 1 descriptor, 2 commit, 3 and 4 superblock, 5 revoke | sequence; all big-endian
//! superblock  0c blocksize  10 maxlen  14 first  18 sequence  1c start  24 compat  28 incompat  30 uuid [16]  54 fast commit blocks
//!             fc checksum
//! descriptor  header | tags | with checksums: checksum u32 at the end of the block
//! tag, v3     block u32 | flags u32 | block high u32 | checksum u32 | uuid [16] unless it is that of the last tag
//! tag, older  block u32 | checksum u16 | flags u16 | 64 bits: block high u32 | checksum v2: u16 | uuid [16], likewise
//! revoke      header | bytes in use u32 | blocks of 32 or 64 bits
//! commit      header | 10 checksum
//! ```
//! Source: kernel `include/linux/jbd2.h`, `fs/jbd2/recovery.c`. A transaction counts when its commit block is there; a
//! revoked block is not taken from transactions up to the one that revokes it.

use super::file::Contents;
use super::{Error, Ext4, Kind, Superblock};
use crate::format::disk::ext4::ondisk::checksum;
use crate::num;
use crate::stream::ReadAt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The inode of the journal.
const JOURNAL: u32 = 8;
const MAGIC: u32 = 0xc03b_3998;
/// The longest journal that is replayed, in blocks: 1 GiB.
const MAX_BLOCKS: u32 = 1 << 18;

const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;

/// Of the compatible features.
const CHECKSUM_V1: u32 = 0x1;
const WIDE: u32 = 0x2;
const CHECKSUM_V2: u32 = 0x8;
const CHECKSUM_V3: u32 = 0x10;
const FAST_COMMIT: u32 = 0x20;
/// Features that are understood; an asynchronous commit is one without the barrier, no other form.
const KNOWN: u32 = 0x1 | WIDE | 0x4 | CHECKSUM_V2 | CHECKSUM_V3 | FAST_COMMIT;

const ESCAPED: u32 = 0x1;
const SAME_UUID: u32 = 0x2;
const LAST: u32 = 0x8;

/// Where the newest copy of a block is.
#[derive(Clone, Copy, Debug)]
struct Copy {
    /// The block of the journal, on the device.
    at: u64,
    /// Whether its first four bytes were replaced.
    escaped: bool,
}

/// Blocks that the journal holds a newer copy of.
#[derive(Debug, Default)]
pub struct Replayed {
    blocks: BTreeMap<u64, Copy>,
    transactions: u32,
}

impl Replayed {
    /// How many transactions were replayed.
    #[must_use]
    pub const fn transactions(&self) -> u32 {
        self.transactions
    }

    /// The first block from `from` up to, without, `to` that is to be taken from the journal, and from where.
    pub(crate) fn next(&self, from: u64, to: u64) -> Option<(u64, u64, bool)> {
        if self.blocks.is_empty() {
            return None;
        }
        self.blocks.range(from..to).next().map(|(block, copy)| (*block, copy.at, copy.escaped))
    }
}

impl<R: ReadAt> Ext4<R> {
    /// Opens a file system as it will be once the kernel has replayed its journal.
    pub fn open_replayed(device: R) -> Result<Self, Error> {
        let mut ext4 = Self::open(device)?;
        if !ext4.superblock.needs_recovery {
            return Ok(ext4);
        }
        ext4.replayed = Arc::new(Journal::open(&ext4)?.replay()?);
        // The superblock itself may be among what was journalled; that there is a journal to replay stays true.
        let mut superblock = Superblock::read(&ext4)?;
        superblock.needs_recovery = true;
        ext4.superblock = superblock;
        ext4.forget();
        Ok(ext4)
    }

    /// What was taken from the journal.
    #[must_use]
    pub fn replayed(&self) -> &Replayed {
        &self.replayed
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn damaged(what: &str) -> Error {
    Error::Damaged(format!("its journal {what}"))
}

struct Journal<'a, R> {
    fs: &'a Ext4<R>,
    contents: Contents<'a, R>,
    first: u32,
    /// Behind the last block of the log.
    end: u32,
    start: u32,
    sequence: u32,
    incompat: u32,
    seed: u32,
}

/// One tag of a descriptor.
struct Tag {
    block: u64,
    flags: u32,
    checksum: u32,
}

/// A transaction that is not committed yet.
#[derive(Default)]
struct Open {
    writes: Vec<(u64, Copy)>,
    revoked: BTreeSet<u64>,
    /// The first block whose checksum is wrong: without a commit it does not count, with one the kernel gives up.
    wrong: Option<Error>,
}

impl<'a, R: ReadAt> Journal<'a, R> {
    fn open(fs: &'a Ext4<R>) -> Result<Self, Error> {
        let (number, device) = fs.superblock.journal();
        if (number, device) != (JOURNAL, 0) {
            let elsewhere = format!("a journal in inode {number} of device {device:#x} to be replayed");
            return Err(Error::Feature(elsewhere));
        }
        let inode = fs.inode(JOURNAL)?;
        if inode.kind != Kind::File {
            return Err(damaged("is no file"));
        }
        let contents = fs.contents(&inode)?;
        let unit = fs.superblock.block_size;
        let blocks = u32::try_from(inode.size / unit).ok().filter(|blocks| (2..=MAX_BLOCKS).contains(blocks));
        let blocks = blocks.ok_or_else(|| damaged("is shorter than two blocks or longer than 2^18"))?;
        let mut journal =
            Self { fs, contents, first: 1, end: blocks, start: 0, sequence: 0, incompat: 0, seed: 0 };
        let raw = journal.read(0)?.1;
        let kind = be32(&raw, 4);
        if be32(&raw, 0) != MAGIC || !(3..=4).contains(&kind) || u64::from(be32(&raw, 0xc)) != unit {
            return Err(damaged("does not begin with its superblock"));
        }
        if kind == 4 {
            if be32(&raw, 0x24) & CHECKSUM_V1 != 0 {
                // The kernel leaves out transactions whose checksum is wrong; nothing that is used now writes any.
                return Err(Error::Feature("checksums of the first kind in the journal".to_owned()));
            }
            journal.incompat = be32(&raw, 0x28);
            journal.seed = checksum::update(u32::MAX, &raw[0x30..0x40]);
        }
        if journal.incompat & !KNOWN != 0 {
            return Err(Error::Feature(format!("incompat {:#x} of the journal", journal.incompat & !KNOWN)));
        }
        if journal.has_checksums() {
            journal.check(&raw[..1024], 0xfc, u32::MAX, "superblock")?;
        }
        let fast = match (journal.incompat & FAST_COMMIT != 0, be32(&raw, 0x54)) {
            (false, _) => 0,
            (true, 0) => 256,
            (true, blocks) => blocks,
        };
        (journal.first, journal.sequence, journal.start) =
            (be32(&raw, 0x14), be32(&raw, 0x18), be32(&raw, 0x1c));
        let end = be32(&raw, 0x10).checked_sub(fast);
        journal.end = end.filter(|end| *end <= blocks).ok_or_else(|| damaged("is longer than its inode"))?;
        let log = journal.first..journal.end;
        if journal.first == 0 || (journal.start != 0 && !log.contains(&journal.start)) {
            return Err(damaged("begins outside of itself"));
        }
        if fast > 0 {
            journal.check_fast()?;
        }
        Ok(journal)
    }

    /// Fast commits are not understood: there must be none that count.
    fn check_fast(&mut self) -> Result<(), Error> {
        let (_, raw) = self.read(self.end)?;
        // A fast commit begins with a tag of kind 9, "head", with the number of its transaction.
        let (tag, sequence) = (super::le16(&raw, 0), super::le32(&raw, 8));
        // Numbers of transactions wrap: what is not behind is ahead.
        let is_behind = sequence.wrapping_sub(self.sequence) > u32::MAX / 2;
        if tag == 9 && !is_behind && self.start != 0 {
            return Err(Error::Feature("fast commits to be replayed".to_owned()));
        }
        Ok(())
    }

    const fn has_checksums(&self) -> bool {
        self.incompat & (CHECKSUM_V2 | CHECKSUM_V3) != 0
    }

    /// A block of the journal, and where it is on the device.
    fn read(&mut self, block: u32) -> Result<(u64, Vec<u8>), Error> {
        self.contents.block_at(u64::from(block))?.ok_or_else(|| damaged("has holes"))
    }

    fn check(&self, bytes: &[u8], at: usize, seed: u32, what: &str) -> Result<(), Error> {
        let stored = be32(bytes, at);
        let sum = checksum::update(checksum::update(seed, &bytes[..at]), &[0; 4]);
        let computed = checksum::update(sum, &bytes[at + 4..]);
        if stored == computed {
            return Ok(());
        }
        Err(Error::Checksum { what: format!("a {what} of its journal"), stored, computed })
    }

    fn after(&self, block: u32) -> u32 {
        if block + 1 >= self.end { self.first } else { block + 1 }
    }

    fn replay(mut self) -> Result<Replayed, Error> {
        let mut replayed = Replayed::default();
        let (mut block, mut sequence) = (self.start, self.sequence);
        let mut open = Open::default();
        let mut left = self.end - self.first;
        while block != 0 && left > 0 {
            let (_, raw) = self.read(block)?;
            if be32(&raw, 0) != MAGIC || be32(&raw, 8) != sequence {
                break;
            }
            left -= 1;
            let at = block;
            block = self.after(block);
            let tail = raw.len() - 4;
            // A block that is not whole was being written when the power went: the log ends before it.
            match be32(&raw, 4) {
                DESCRIPTOR
                    if !self.has_checksums() || self.check(&raw, tail, self.seed, "descriptor").is_ok() =>
                {
                    let tags = self.tags(&raw)?;
                    left = left.saturating_sub(u32::try_from(tags.len()).unwrap_or(u32::MAX));
                    block = self.writes(block, sequence, &tags, &mut open)?;
                }
                REVOKE
                    if !self.has_checksums() || self.check(&raw, tail, self.seed, "revocation").is_ok() =>
                {
                    self.revokes(&raw, &mut open)?;
                }
                COMMIT if !self.has_checksums() || self.check(&raw, 0x10, self.seed, "commit").is_ok() => {
                    replayed.commit(std::mem::take(&mut open))?;
                    sequence = sequence.wrapping_add(1);
                }
                1..=5 => break,
                kind => return Err(damaged(&format!("has a block of kind {kind} at {at}"))),
            }
        }
        Ok(replayed)
    }

    fn tags(&self, raw: &[u8]) -> Result<Vec<Tag>, Error> {
        let v3 = self.incompat & CHECKSUM_V3 != 0;
        let wide = self.incompat & WIDE != 0;
        let size = match (v3, wide, self.incompat & CHECKSUM_V2 != 0) {
            (true, ..) => 16,
            (false, true, v2) => 12 + if v2 { 2 } else { 0 },
            (false, false, v2) => 8 + if v2 { 2 } else { 0 },
        };
        let end = raw.len() - if self.has_checksums() { 4 } else { 0 };
        let (mut at, mut tags) = (12, Vec::new());
        loop {
            if at + size > end {
                return Ok(tags);
            }
            let high = if wide { u64::from(be32(raw, at + 8)) << 32 } else { 0 };
            let flags = if v3 { be32(raw, at + 4) } else { u32::from(be16(raw, at + 6)) };
            let checksum = if v3 { be32(raw, at + 12) } else { u32::from(be16(raw, at + 4)) };
            let block = u64::from(be32(raw, at)) | high;
            if block >= self.fs.superblock.blocks {
                return Err(damaged(&format!("holds block {block}, which does not exist")));
            }
            tags.push(Tag { block, flags, checksum });
            if flags & LAST != 0 {
                return Ok(tags);
            }
            at += size + if flags & SAME_UUID == 0 { 16 } else { 0 };
        }
    }

    /// Takes the blocks behind a descriptor, and gives the one behind them.
    fn writes(&mut self, mut block: u32, sequence: u32, tags: &[Tag], open: &mut Open) -> Result<u32, Error> {
        for tag in tags {
            let (at, raw) = self.read(block)?;
            if self.has_checksums() {
                let sum = checksum::update(self.seed, &sequence.to_be_bytes());
                let sum = checksum::update(sum, &raw);
                let v3 = self.incompat & CHECKSUM_V3 != 0;
                let computed = if v3 { sum } else { u32::from(checksum::low16(sum)) };
                if computed != tag.checksum {
                    let what = format!("the copy of block {} in its journal", tag.block);
                    open.wrong.get_or_insert(Error::Checksum { what, stored: tag.checksum, computed });
                }
            }
            open.writes.push((tag.block, Copy { at, escaped: tag.flags & ESCAPED != 0 }));
            block = self.after(block);
        }
        Ok(block)
    }

    fn revokes(&self, raw: &[u8], open: &mut Open) -> Result<(), Error> {
        let used = num::to_usize(u64::from(be32(raw, 12)));
        let end = raw.len() - if self.has_checksums() { 4 } else { 0 };
        if !(16..=end).contains(&used) {
            return Err(damaged(&format!("revokes {used} bytes of blocks")));
        }
        let wide = self.incompat & WIDE != 0;
        let blocks = raw[16..used].chunks_exact(if wide { 8 } else { 4 });
        open.revoked.extend(blocks.map(|raw| {
            let first = u64::from(be32(raw, 0));
            if wide { first << 32 | u64::from(be32(raw, 4)) } else { first }
        }));
        Ok(())
    }
}

impl Replayed {
    fn commit(&mut self, open: Open) -> Result<(), Error> {
        if let Some(error) = open.wrong {
            return Err(error);
        }
        for block in &open.revoked {
            self.blocks.remove(block);
        }
        let writes = open.writes.into_iter().filter(|(block, _)| !open.revoked.contains(block));
        self.blocks.extend(writes);
        self.transactions += 1;
        Ok(())
    }
}
