//! Metadata as bytes: superblock, descriptors, bitmaps, journal, what the resize inode leads to.
//!
//! Offsets are those of kernel `fs/ext4/ext4.h` (`ext4_super_block`, `ext4_group_desc`); the journal's
//! of `include/linux/jbd2.h`; the resize inode's of e2fsprogs `lib/ext2fs/res_gdt.c`.

use super::allocate::{Plan, overlapping};
use super::directory::Renderer;
use super::extents::ExtentTree;
use super::geometry::{DESCRIPTOR, FIRST_INODE, GROUP_BLOCKS, Run};
use super::inode::{JOURNAL_INODE, inodes};
use super::list::Token;
use super::namespace::index;
use super::options::Purpose;
use crate::format::disk::ext4::ondisk::block::{BLOCK, BLOCK_LEN};
use crate::format::disk::ext4::ondisk::checksum;
use crate::num;

pub(crate) const COMPAT: u32 = 0x3c; // has_journal, ext_attr, resize_inode, dir_index
pub(crate) const INCOMPAT: u32 = 0x242; // filetype, extents, flex_bg
pub(crate) const RO_COMPAT: u32 = 0x46b; // sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum
const HAS_JOURNAL: u32 = 0x4;
/// Default mount options: user_xattr, acl.
pub(crate) const MOUNT_OPTIONS: u32 = 0x0c;

const INODE_UNINIT: u16 = 1;
const ITABLE_ZEROED: u16 = 4;

/// Writes little-endian fields.
pub struct Fields<'a>(pub &'a mut [u8]);

impl Fields<'_> {
    pub fn u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    pub fn u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// The low 32 bits; what nixflash makes has no more blocks or inodes.
    pub fn low(&mut self, at: usize, value: u64) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes()[..4]);
    }

    pub fn bytes(&mut self, at: usize, value: &[u8]) {
        self.0[at..at + value.len()].copy_from_slice(value);
    }
}

/// Renders what a token stands for; `out` is as long as its extent.
pub fn token<C: Copy>(plan: &Plan<C>, token: Token, out: &mut [u8]) {
    let blocks = |out: &mut [u8], render: &dyn Fn(u64, &mut [u8])| {
        out.chunks_exact_mut(BLOCK_LEN).zip(0..).for_each(|(block, n)| render(n, block));
    };
    match token {
        Token::None => out.fill(0),
        Token::Superblock(group) => superblock_block(plan, group, out),
        Token::Descriptors(first) => blocks(out, &|n, block| descriptors(plan, first + n, block)),
        Token::Reserved(first) => blocks(out, &|n, block| reserved(plan, first + n, block)),
        Token::BlockBitmaps(first) => blocks(out, &|n, block| block_bitmap(plan, first + n, block)),
        Token::InodeBitmaps(first) => blocks(out, &|n, block| inode_bitmap(plan, first + n, block)),
        Token::Inodes(first) => inodes(plan, first, out),
        Token::Journal => journal(plan, out),
        Token::ResizeIndirect => resize_indirect(plan, out),
        Token::Directories(first) => {
            blocks(out, &|n, block| directory_block(plan, num::to_usize(n) + index(first), block))
        }
        Token::Symlinks(first) => blocks(out, &|n, block| {
            block.fill(0);
            let target = plan.space.slow_target(&plan.space.slow_symlinks[num::to_usize(n) + index(first)]);
            block[..target.len()].copy_from_slice(target);
        }),
        Token::ExtentBlock(file, n) => {
            let tree = ExtentTree { runs: plan.file_runs.of(file), blocks: &plan.trees[&file] };
            tree.block(index(n), seed(plan, plan.space.files[index(file)].inode), out);
        }
        Token::JournalExtents(n) => {
            let tree = ExtentTree { runs: &plan.journal, blocks: &plan.journal_tree };
            tree.block(index(n), seed(plan, JOURNAL_INODE), out);
        }
    }
}

fn fs_seed<C>(plan: &Plan<C>) -> u32 {
    checksum::file_system_seed(&plan.options.uuid)
}

/// The seed of an inode's checksums.
pub fn seed<C>(plan: &Plan<C>, inode: u32) -> u32 {
    checksum::inode_seed(fs_seed(plan), inode)
}

/// The block with the superblock: at byte 1024 in the first group, behind the boot sector; at 0 elsewhere.
fn superblock_block<C: Copy>(plan: &Plan<C>, group: u64, out: &mut [u8]) {
    out.fill(0);
    let at = if group == 0 { 1024 } else { 0 };
    superblock(plan, group, &mut out[at..at + 1024]);
}

fn superblock<C: Copy>(plan: &Plan<C>, group: u64, out: &mut [u8]) {
    let (g, s, o) = (&plan.geometry, &plan.summary, &plan.options);
    let journal = g.journal_blocks > 0;
    let mut f = Fields(out);
    f.low(0x00, s.inodes);
    f.low(0x04, s.blocks);
    f.low(0x08, s.reserved_blocks);
    f.low(0x0c, s.free_blocks);
    f.low(0x10, s.free_inodes);
    f.u32(0x18, 2); // s_log_block_size: 4096
    f.u32(0x1c, 2);
    f.low(0x20, GROUP_BLOCKS);
    f.low(0x24, GROUP_BLOCKS);
    f.low(0x28, g.inodes_per_group);
    f.u32(0x30, o.epoch); // s_wtime
    f.u16(0x36, 0xffff); // s_max_mnt_count: never
    f.u16(0x38, 0xef53);
    f.u16(0x3a, 1); // clean
    f.u16(0x3c, 1); // on errors: continue
    f.u32(0x40, o.epoch); // s_lastcheck
    f.u32(0x4c, 1); // s_rev_level
    f.u32(0x54, FIRST_INODE);
    f.u16(0x58, 256);
    f.bytes(0x5a, &group.to_le_bytes()[..2]);
    f.u32(0x5c, if journal { COMPAT } else { COMPAT & !HAS_JOURNAL });
    f.u32(0x60, INCOMPAT);
    f.u32(0x64, RO_COMPAT);
    f.bytes(0x68, &o.uuid);
    f.bytes(0x78, &o.label.0);
    f.bytes(0xce, &g.reserved_blocks.to_le_bytes()[..2]);
    f.u32(0xe0, if journal { JOURNAL_INODE } else { 0 });
    f.bytes(0xec, &o.hash_seed);
    f.0[0xfc] = 1; // s_def_hash_version: half MD4
    f.u32(0x100, MOUNT_OPTIONS);
    f.u32(0x108, o.epoch); // s_mkfs_time
    if journal {
        f.0[0xfd] = 1; // s_jnl_backup_type: what follows is a copy of the journal's inode
        let size = g.journal_blocks * BLOCK;
        let mut map = [0; 60];
        ExtentTree { runs: &plan.journal, blocks: &plan.journal_tree }.inline(&mut map);
        f.bytes(0x10c, &map);
        f.low(0x10c + 60, size >> 32);
        f.low(0x10c + 64, size);
    }
    f.u16(0x15c, 32); // s_min_extra_isize
    f.u16(0x15e, 32);
    f.u32(0x160, 1); // s_flags: signed directory hash, whatever the host's char is
    f.0[0x174] = 4; // s_log_groups_per_flex: 16
    f.0[0x175] = 1; // s_checksum_type: crc32c
    f.low(0x248, g.fixed_blocks() + g.journal_blocks); // s_overhead_clusters
    let sum = checksum::update(u32::MAX, &f.0[..0x3fc]);
    f.u32(0x3fc, sum);
}

fn descriptors<C: Copy>(plan: &Plan<C>, block: u64, out: &mut [u8]) {
    out.fill(0);
    let first = block * (BLOCK / DESCRIPTOR);
    let mut scratch = vec![0; BLOCK_LEN];
    for (group, bytes) in (first..plan.geometry.groups).zip(out.chunks_exact_mut(num::to_usize(DESCRIPTOR))) {
        descriptor(plan, group, bytes, &mut scratch);
    }
}

fn descriptor<C: Copy>(plan: &Plan<C>, group: u64, out: &mut [u8], scratch: &mut [u8]) {
    let g = &plan.geometry;
    let [block_map, inode_map, table] = g.tables[num::to_usize(group)];
    let first = group * g.inodes_per_group;
    let used_inodes = plan.space.used_inodes().saturating_sub(first).min(g.inodes_per_group);
    let zeroed = if plan.options.purpose == Purpose::Image { ITABLE_ZEROED } else { 0 };
    let uninit = if used_inodes == 0 { INODE_UNINIT } else { 0 };
    let low16 = |n: u64| {
        let [a, b, ..] = n.to_le_bytes();
        u16::from_le_bytes([a, b])
    };
    let mut f = Fields(out);
    f.low(0x00, block_map);
    f.low(0x04, inode_map);
    f.low(0x08, table);
    f.u16(0x0c, low16(g.group(group).len - plan.used_blocks(group)));
    f.u16(0x0e, low16(g.inodes_per_group - used_inodes));
    f.u16(0x10, low16(directories_in(plan, first + 1, first + g.inodes_per_group)));
    f.u16(0x12, zeroed | uninit);
    block_bitmap(plan, group, scratch);
    f.u16(0x18, checksum::low16(checksum::update(fs_seed(plan), scratch)));
    if uninit == 0 {
        inode_bitmap(plan, group, scratch);
        let covered = &scratch[..num::to_usize(g.inodes_per_group / 8)];
        f.u16(0x1a, checksum::low16(checksum::update(fs_seed(plan), covered)));
    }
    f.u16(0x1c, low16(g.inodes_per_group - used_inodes)); // bg_itable_unused
    let number = group.to_le_bytes();
    let sum = checksum::update(checksum::update(fs_seed(plan), &number[..4]), f.0);
    f.u16(0x1e, checksum::low16(sum));
}

/// How many directories have inodes in a range of numbers.
fn directories_in<C>(plan: &Plan<C>, from: u64, to: u64) -> u64 {
    // Directories are in walking order, so their inodes ascend; lost+found, the last, has a reserved number.
    let (lost_found, walked) =
        plan.space.directories.split_last().map_or((None, &[][..]), |(last, rest)| (Some(last), rest));
    let below = |limit: u64| num::to_u64(walked.partition_point(|dir| u64::from(dir.inode) < limit));
    let lost_found = lost_found.is_some_and(|dir| (from..=to).contains(&u64::from(dir.inode)));
    below(to + 1) - below(from) + u64::from(lost_found)
}

fn set_bits(out: &mut [u8], from: u64, to: u64) {
    for bit in from..to {
        let byte = num::to_usize(bit / 8);
        if bit % 8 == 0 && bit + 8 <= to {
            out[byte] = 0xff;
        } else {
            out[byte] |= 1 << (bit % 8);
        }
    }
}

fn block_bitmap<C: Copy>(plan: &Plan<C>, group: u64, out: &mut [u8]) {
    out.fill(0);
    let Run { start, len } = plan.geometry.group(group);
    let below = plan.end.clamp(start, start + len);
    set_bits(out, 0, below - start);
    for run in overlapping(&plan.geometry.fixed, below, start + len) {
        set_bits(out, run.start - start, run.end() - start);
    }
    set_bits(out, len, GROUP_BLOCKS);
}

fn inode_bitmap<C: Copy>(plan: &Plan<C>, group: u64, out: &mut [u8]) {
    out.fill(0);
    let per_group = plan.geometry.inodes_per_group;
    let used = plan.space.used_inodes().saturating_sub(group * per_group).min(per_group);
    set_bits(out, 0, used);
    set_bits(out, per_group, BLOCK * 8);
}

fn resize_indirect<C: Copy>(plan: &Plan<C>, out: &mut [u8]) {
    out.fill(0);
    let g = &plan.geometry;
    let first = 1 + g.descriptor_blocks;
    for n in 0..g.reserved_blocks {
        let slot = num::to_usize((g.descriptor_blocks + n) % 1024);
        Fields(out).low(slot * 4, first + n);
    }
}

fn reserved<C: Copy>(plan: &Plan<C>, n: u64, out: &mut [u8]) {
    out.fill(0);
    let block = 1 + plan.geometry.descriptor_blocks + n;
    for (slot, group) in plan.geometry.backups().enumerate() {
        Fields(out).low(slot * 4, group * GROUP_BLOCKS + block);
    }
}

fn directory_block<C: Copy>(plan: &Plan<C>, at: usize, out: &mut [u8]) {
    let (directory, block) = plan.directory_blocks[at];
    let (dir, shape) = (&plan.space.directories[index(directory)], &plan.shapes[index(directory)]);
    Renderer { space: &plan.space, dir, shape, seed: seed(plan, dir.inode) }.block(block, out);
}

/// The journal's superblock, version 2, big-endian, of an empty journal.
fn journal<C: Copy>(plan: &Plan<C>, out: &mut [u8]) {
    out.fill(0);
    let mut be32 = |at: usize, value: u32| out[at..at + 4].copy_from_slice(&value.to_be_bytes());
    be32(0x00, 0xc03b_3998);
    be32(0x04, 4); // superblock, version 2
    be32(0x0c, 4096);
    be32(0x10, u32::try_from(plan.geometry.journal_blocks).unwrap_or(0));
    be32(0x14, 1); // s_first
    be32(0x18, 1); // s_sequence
    be32(0x40, 1); // s_nr_users
    out[0x30..0x40].copy_from_slice(&plan.options.uuid);
}
