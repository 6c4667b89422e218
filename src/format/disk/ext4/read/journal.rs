//! The journal, replayed in memory: what a power-off left in it is laid over what is on the device.
//!
//! Fields are those of `ondisk::journal`; what counts is told by kernel `fs/jbd2/recovery.c`. A transaction counts when
//! its commit block is there; a
//! revoked block is not taken from transactions up to the one that revokes it.

use super::error::Error;
use super::file::Contents;
use super::file_system::Ext4;
use super::inode::Kind;
use super::replayed::{Copy, Open, Replayed};
use crate::bytes::{Be32, Le16, Le32};
use crate::format::disk::ext4::ondisk::checksum;
use crate::format::disk::ext4::ondisk::inode::JOURNAL_INO;
use crate::format::disk::ext4::ondisk::journal::{
    self, ASYNC_COMMIT, B64BIT, COMMIT_BLOCK, COMPAT_CHECKSUM, CSUM_V2, CSUM_V3, DESCRIPTOR_BLOCK, ESCAPE,
    FAST_COMMIT, H_BLOCKTYPE, H_CHKSUM, H_MAGIC, H_SEQUENCE, LAST_TAG, MAGIC, REVOKE, REVOKE_BLOCK,
    SAME_UUID,
};
use crate::format::disk::ext4::read::superblock::Superblock;
use crate::ints;
use crate::stream::ReadAt;
use std::sync::Arc;

/// The longest journal that is replayed, in blocks: 1 GiB.
const MAX_BLOCKS: u32 = 1 << 18;

/// Features that are understood; an asynchronous commit is one without the barrier, no other form.
const KNOWN: u32 = REVOKE | B64BIT | ASYNC_COMMIT | CSUM_V2 | CSUM_V3 | FAST_COMMIT;
/// A fast commit begins with a tag of this kind (`EXT4_FC_TAG_HEAD`), with the number of its transaction in it.
const FC_TAG_HEAD: u16 = 9;
const FC_TAG: Le16 = Le16(0);
const FC_TID: Le32 = Le32(8);

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

impl<'a, R: ReadAt> Journal<'a, R> {
    fn open(fs: &'a Ext4<R>) -> Result<Self, Error> {
        let (number, device) = fs.superblock.journal();
        if (number, device) != (JOURNAL_INO, 0) {
            let elsewhere = format!("a journal in inode {number} of device {device:#x} to be replayed");
            return Err(Error::Feature(elsewhere));
        }
        let inode = fs.inode(JOURNAL_INO)?;
        if inode.kind != Kind::File {
            return Err(damaged("is no file"));
        }
        let contents = fs.contents(&inode)?;
        let unit = fs.superblock.block_size;
        let blocks = u32::try_from(inode.size / unit).ok().filter(|blocks| (2..=MAX_BLOCKS).contains(blocks));
        let blocks = blocks.ok_or_else(|| damaged("is shorter than two blocks or longer than 2^18"))?;
        let mut log =
            Self { fs, contents, first: 1, end: blocks, start: 0, sequence: 0, incompat: 0, seed: 0 };
        let raw = log.read(0)?.1;
        let kind = H_BLOCKTYPE.get(&raw);
        let is_superblock =
            H_MAGIC.get(&raw) == MAGIC && [journal::SUPERBLOCK_V1, journal::SUPERBLOCK_V2].contains(&kind);
        if !is_superblock || u64::from(journal::S_BLOCKSIZE.get(&raw)) != unit {
            return Err(damaged("does not begin with its superblock"));
        }
        if kind == journal::SUPERBLOCK_V2 {
            if journal::S_FEATURE_COMPAT.get(&raw) & COMPAT_CHECKSUM != 0 {
                // The kernel leaves out transactions whose checksum is wrong; nothing that is used now writes any.
                return Err(Error::Feature("checksums of the first kind in the journal".to_owned()));
            }
            log.incompat = journal::S_FEATURE_INCOMPAT.get(&raw);
            log.seed = journal::seed(&raw);
        }
        if log.incompat & !KNOWN != 0 {
            return Err(Error::Feature(format!("incompat {:#x} of the journal", log.incompat & !KNOWN)));
        }
        if log.has_checksums() {
            log.check(&raw[..journal::SUPERBLOCK], journal::S_CHECKSUM, u32::MAX, "superblock")?;
        }
        let fast = match (log.incompat & FAST_COMMIT != 0, journal::S_NUM_FC_BLKS.get(&raw)) {
            (false, _) => 0,
            (true, 0) => journal::DEFAULT_FC_BLKS,
            (true, blocks) => blocks,
        };
        log.first = journal::S_FIRST.get(&raw);
        log.sequence = journal::S_SEQUENCE.get(&raw);
        log.start = journal::S_START.get(&raw);
        let end = journal::S_MAXLEN.get(&raw).checked_sub(fast);
        log.end = end.filter(|end| *end <= blocks).ok_or_else(|| damaged("is longer than its inode"))?;
        let within = log.first..log.end;
        if log.first == 0 || (log.start != 0 && !within.contains(&log.start)) {
            return Err(damaged("begins outside of itself"));
        }
        if fast > 0 {
            log.check_fast()?;
        }
        Ok(log)
    }

    /// Fast commits are not understood: there must be none that count.
    fn check_fast(&mut self) -> Result<(), Error> {
        let (_, raw) = self.read(self.end)?;
        let (tag, sequence) = (FC_TAG.get(&raw), FC_TID.get(&raw));
        // Numbers of transactions wrap: what is not behind is ahead.
        let is_behind = sequence.wrapping_sub(self.sequence) > u32::MAX / 2;
        if tag == FC_TAG_HEAD && !is_behind && self.start != 0 {
            return Err(Error::Feature("fast commits to be replayed".to_owned()));
        }
        Ok(())
    }

    const fn has_checksums(&self) -> bool {
        self.incompat & (CSUM_V2 | CSUM_V3) != 0
    }

    /// A block of the journal, and where it is on the device.
    fn read(&mut self, block: u32) -> Result<(u64, Vec<u8>), Error> {
        self.contents.block_at(u64::from(block))?.ok_or_else(|| damaged("has holes"))
    }

    fn check(&self, bytes: &[u8], own: Be32, seed: u32, what: &str) -> Result<(), Error> {
        let (stored, computed) = (own.get(bytes), journal::sum(seed, bytes, own));
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
            if H_MAGIC.get(&raw) != MAGIC || H_SEQUENCE.get(&raw) != sequence {
                break;
            }
            left -= 1;
            let at = block;
            block = self.after(block);
            let tail = Be32(raw.len() - Be32::LEN);
            // A block that is not whole was being written when the power went: the log ends before it.
            match H_BLOCKTYPE.get(&raw) {
                DESCRIPTOR_BLOCK
                    if !self.has_checksums() || self.check(&raw, tail, self.seed, "descriptor").is_ok() =>
                {
                    let tags = self.tags(&raw)?;
                    left = left.saturating_sub(u32::try_from(tags.len()).unwrap_or(u32::MAX));
                    block = self.writes(block, sequence, &tags, &mut open)?;
                }
                REVOKE_BLOCK
                    if !self.has_checksums() || self.check(&raw, tail, self.seed, "revocation").is_ok() =>
                {
                    self.revokes(&raw, &mut open)?;
                }
                COMMIT_BLOCK
                    if !self.has_checksums() || self.check(&raw, H_CHKSUM, self.seed, "commit").is_ok() =>
                {
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
        let v3 = self.incompat & CSUM_V3 != 0;
        let wide = self.incompat & B64BIT != 0;
        let size = match (v3, wide, self.incompat & CSUM_V2 != 0) {
            (true, ..) => 16,
            (false, true, v2) => 12 + if v2 { 2 } else { 0 },
            (false, false, v2) => 8 + if v2 { 2 } else { 0 },
        };
        let end = raw.len() - if self.has_checksums() { Be32::LEN } else { 0 };
        let (mut at, mut tags) = (journal::HEADER, Vec::new());
        loop {
            if at + size > end {
                return Ok(tags);
            }
            let high = if wide { u64::from(journal::T_BLOCKNR_HIGH.from(at).get(raw)) << 32 } else { 0 };
            let flags = if v3 {
                journal::T3_FLAGS.from(at).get(raw)
            } else {
                journal::T_FLAGS.from(at).get(raw).into()
            };
            let checksum = if v3 {
                journal::T3_CHECKSUM.from(at).get(raw)
            } else {
                journal::T_CHECKSUM.from(at).get(raw).into()
            };
            let block = u64::from(journal::T_BLOCKNR.from(at).get(raw)) | high;
            if block >= self.fs.superblock.blocks {
                return Err(damaged(&format!("holds block {block}, which does not exist")));
            }
            tags.push(Tag { block, flags, checksum });
            if flags & LAST_TAG != 0 {
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
                let sum = journal::copy_sum(self.seed, sequence, &raw);
                let v3 = self.incompat & CSUM_V3 != 0;
                let computed = if v3 { sum } else { u32::from(checksum::low16(sum)) };
                if computed != tag.checksum {
                    let what = format!("the copy of block {} in its journal", tag.block);
                    open.wrong.get_or_insert(Error::Checksum { what, stored: tag.checksum, computed });
                }
            }
            open.writes.push((tag.block, Copy { at, escaped: tag.flags & ESCAPE != 0 }));
            block = self.after(block);
        }
        Ok(block)
    }

    fn revokes(&self, raw: &[u8], open: &mut Open) -> Result<(), Error> {
        let used = ints::to_usize(u64::from(journal::R_COUNT.get(raw)));
        let end = raw.len() - if self.has_checksums() { Be32::LEN } else { 0 };
        if !(16..=end).contains(&used) {
            return Err(damaged(&format!("revokes {used} bytes of blocks")));
        }
        let wide = self.incompat & B64BIT != 0;
        let blocks = raw[16..used].chunks_exact(if wide { 8 } else { 4 });
        open.revoked.extend(blocks.map(|raw| {
            let first = u64::from(Be32(0).get(raw));
            if wide { first << 32 | u64::from(Be32(4).get(raw)) } else { first }
        }));
        Ok(())
    }
}
