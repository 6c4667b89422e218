//! Inodes as bytes: offsets are those of kernel `fs/ext4/ext4.h` (`ext4_inode`).

use super::allocate::Plan;
use super::directory::byte_len;
use super::encode::{Fields, seed};
use super::extents::ExtentTree;
use super::geometry::{FIRST_INODE, INODE_SIZE, INODES_PER_BLOCK};
use super::namespace::{Body, Inode, ROOT, count, index};
use crate::format::disk::ext4::ondisk::block::BLOCK;
use crate::format::disk::ext4::ondisk::checksum;
use crate::num;
use crate::tree::Attrs;

const RESIZE_INODE: u32 = 7;
/// The inode of the journal.
pub const JOURNAL_INODE: u32 = 8;
const EXTENTS: u32 = 0x8_0000;
const INDEX: u32 = 0x1000;

/// Above this a directory's link count says only that it is not known (dir_nlink).
const MAX_LINKS: u32 = 65_000;

/// Renders the inodes from number `first`, as many as fit.
pub fn inodes<C: Copy>(plan: &Plan<C>, first: u64, out: &mut [u8]) {
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
