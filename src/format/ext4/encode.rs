//! Metadata as bytes: superblock, descriptors, bitmaps, inodes, journal, resize inode.
//!
//! Offsets are those of kernel `fs/ext4/ext4.h` (`ext4_super_block`, `ext4_group_desc`, `ext4_inode`); the journal's
//! of `include/linux/jbd2.h`; the resize inode's of e2fsprogs `lib/ext2fs/res_gdt.c`.

use super::allocate::{Plan, Token, overlapping};
use super::checksum;
use super::directory::{Renderer, byte_len};
use super::extents::ExtentTree;
use super::geometry::{DESCRIPTOR, FIRST_INODE, GROUP_BLOCKS, INODE_SIZE, INODES_PER_BLOCK, Run};
use super::namespace::{Body, Inode, ROOT, count, index};
use super::{BLOCK, BLOCK_LEN, Purpose};
use crate::num;
use crate::tree::Attrs;

const COMPAT: u32 = 0x3c; // has_journal, ext_attr, resize_inode, dir_index
const INCOMPAT: u32 = 0x242; // filetype, extents, flex_bg
const RO_COMPAT: u32 = 0x46b; // sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum
const HAS_JOURNAL: u32 = 0x4;

const RESIZE_INODE: u32 = 7;
const JOURNAL_INODE: u32 = 8;

const EXTENTS: u32 = 0x8_0000;
const INDEX: u32 = 0x1000;

const INODE_UNINIT: u16 = 1;
const ITABLE_ZEROED: u16 = 4;

/// Above this a directory's link count says only that it is not known (dir_nlink).
const MAX_LINKS: u32 = 65_000;

/// Writes little-endian fields.
struct Fields<'a>(&'a mut [u8]);

impl Fields<'_> {
    fn u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// The low 32 bits; what nixflash makes has no more blocks or inodes.
    fn low(&mut self, at: usize, value: u64) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes()[..4]);
    }

    fn bytes(&mut self, at: usize, value: &[u8]) {
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

fn seed<C>(plan: &Plan<C>, inode: u32) -> u32 {
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
    f.u32(0x100, 0x0c); // default mount options: user_xattr, acl
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

fn inodes<C: Copy>(plan: &Plan<C>, first: u64, out: &mut [u8]) {
    out.fill(0);
    debug_assert_eq!((first - 1) % INODES_PER_BLOCK, 0);
    for (number, bytes) in
        (first..=plan.space.used_inodes()).zip(out.chunks_exact_mut(num::to_usize(INODE_SIZE)))
    {
        let number = count(num::to_usize(number));
        inode(plan, number, bytes);
        let sum = checksum::update(seed(plan, number), bytes);
        let mut f = Fields(bytes);
        f.u16(0x7c, checksum::low16(sum));
        if f.0[0x80] != 0 {
            f.u16(0x82, checksum::high16(sum));
        }
    }
}

/// What all inodes have; `blocks` counts data and tree.
struct Common {
    mode: u16,
    attrs: Attrs,
    links: u16,
    size: u64,
    blocks: u64,
    flags: u32,
}

fn common(out: &mut [u8], epoch: u32, c: &Common) {
    let mut f = Fields(out);
    f.u16(0x00, c.mode);
    f.bytes(0x02, &c.attrs.uid.to_le_bytes()[..2]);
    f.low(0x04, c.size);
    f.u32(0x08, epoch);
    f.u32(0x0c, epoch);
    f.u32(0x10, c.attrs.mtime);
    f.bytes(0x18, &c.attrs.gid.to_le_bytes()[..2]);
    f.u16(0x1a, c.links);
    let sectors = c.blocks * (BLOCK / 512);
    f.low(0x1c, sectors);
    f.u32(0x20, c.flags);
    f.low(0x6c, c.size >> 32);
    f.bytes(0x74, &(sectors >> 32).to_le_bytes()[..2]);
    f.bytes(0x78, &c.attrs.uid.to_le_bytes()[2..]);
    f.bytes(0x7a, &c.attrs.gid.to_le_bytes()[2..]);
    f.u16(0x80, 32);
    f.u32(0x84, time_extra(epoch));
    f.u32(0x88, time_extra(c.attrs.mtime));
    f.u32(0x8c, time_extra(epoch));
    f.u32(0x90, epoch); // crtime
    f.u32(0x94, time_extra(epoch));
}

/// The epoch bits of a time: seconds are read as signed, from 2038 on they need one.
const fn time_extra(time: u32) -> u32 {
    time >> 31
}

fn inode<C: Copy>(plan: &Plan<C>, number: u32, out: &mut [u8]) {
    match number {
        ROOT => directory(plan, 0, plan.space.root, out),
        RESIZE_INODE => resize_inode(plan, out),
        JOURNAL_INODE if plan.geometry.journal_blocks > 0 => journal_inode(plan, out),
        FIRST_INODE => {
            let attrs = Attrs { mode: 0o700, uid: 0, gid: 0, mtime: plan.options.epoch };
            directory(plan, count(plan.shapes.len() - 1), attrs, out);
        }
        n if n > FIRST_INODE => {
            let inode = plan.space.inodes[index(n - FIRST_INODE - 1)];
            match inode.body {
                Body::Directory(at) => directory(plan, at, inode.attrs, out),
                Body::File(at) => file(plan, at, inode, out),
                Body::FastSymlink(..) | Body::SlowSymlink(_) => symlink(plan, inode, out),
            }
        }
        _ => {}
    }
}

fn directory<C: Copy>(plan: &Plan<C>, at: u32, attrs: Attrs, out: &mut [u8]) {
    let shape = &plan.shapes[index(at)];
    let links = 2 + plan.space.directories[index(at)].subdirectories;
    let links = if links >= MAX_LINKS { 1 } else { u16::try_from(links).unwrap_or(1) };
    let size = byte_len(shape);
    let flags = EXTENTS | if shape.is_tree() { INDEX } else { 0 };
    let mode = 0o040_000 | attrs.mode;
    common(out, plan.options.epoch, &Common { mode, attrs, links, size, blocks: size / BLOCK, flags });
    ExtentTree { runs: plan.directory_runs.of(at), blocks: &[] }.inline(&mut out[0x28..0x64]);
}

fn file<C: Copy>(plan: &Plan<C>, at: u32, inode: Inode, out: &mut [u8]) {
    let size = plan.space.files[index(at)].len;
    let tree: &[u64] = plan.trees.get(&at).map_or(&[], Vec::as_slice);
    let blocks = size.div_ceil(BLOCK) + num::to_u64(tree.len());
    let (attrs, mode) = (inode.attrs, 0o100_000 | inode.attrs.mode);
    common(out, plan.options.epoch, &Common { mode, attrs, links: 1, size, blocks, flags: EXTENTS });
    ExtentTree { runs: plan.file_runs.of(at), blocks: tree }.inline(&mut out[0x28..0x64]);
}

fn symlink<C: Copy>(plan: &Plan<C>, inode: Inode, out: &mut [u8]) {
    let (attrs, mode, epoch) = (inode.attrs, 0o120_000 | inode.attrs.mode, plan.options.epoch);
    match inode.body {
        Body::SlowSymlink(at) => {
            let size = u64::from(plan.space.slow_symlinks[index(at)].len);
            common(out, epoch, &Common { mode, attrs, links: 1, size, blocks: 1, flags: EXTENTS });
            ExtentTree { runs: plan.symlink_runs.of(at), blocks: &[] }.inline(&mut out[0x28..0x64]);
        }
        Body::FastSymlink(at, len) => {
            let target = plan.space.fast_target(at, len);
            common(out, epoch, &Common { mode, attrs, links: 1, size: u64::from(len), blocks: 0, flags: 0 });
            out[0x28..0x28 + target.len()].copy_from_slice(target);
        }
        Body::File(_) | Body::Directory(_) => {}
    }
}

fn journal_inode<C: Copy>(plan: &Plan<C>, out: &mut [u8]) {
    let epoch = plan.options.epoch;
    let attrs = Attrs { mode: 0o600, uid: 0, gid: 0, mtime: epoch };
    let blocks = plan.geometry.journal_blocks + num::to_u64(plan.journal_tree.len());
    let size = plan.geometry.journal_blocks * BLOCK;
    common(out, epoch, &Common { mode: 0o100_600, attrs, links: 1, size, blocks, flags: EXTENTS });
    ExtentTree { runs: &plan.journal, blocks: &plan.journal_tree }.inline(&mut out[0x28..0x64]);
}

/// The resize inode: one doubly indirect block that leads to every reserved descriptor block of the first group,
/// each of which lists its copies in the other groups.
fn resize_inode<C: Copy>(plan: &Plan<C>, out: &mut [u8]) {
    let g = &plan.geometry;
    let epoch = plan.options.epoch;
    let attrs = Attrs { mode: 0o600, uid: 0, gid: 0, mtime: epoch };
    let backups = num::to_u64(g.backups().count());
    let blocks = 1 + g.reserved_blocks * (1 + backups);
    let size = (1024 * 1024 + 1024 + 12) * BLOCK;
    common(out, epoch, &Common { mode: 0o100_600, attrs, links: 1, size, blocks, flags: 0 });
    Fields(out).low(0x28 + 13 * 4, plan.resize_indirect);
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
