//! Inodes as bytes.

use super::allocate::Plan;
use super::directory::byte_len;
use super::extents::ExtentTree;
use super::namespace::{Body, Inode, count, index};
use crate::format::disk::ext4::ondisk::block::{BLOCK, INODE_SIZE, INODES_PER_BLOCK, POINTERS_PER_BLOCK};
use crate::format::disk::ext4::ondisk::inode::{
    self, DIND_BLOCK, EXTENTS_FL, EXTRA_ISIZE, FIRST_INO, I_BLOCK, INDEX_FL, JOURNAL_INO, LINK_MAX,
    NDIR_BLOCKS, RESIZE_INO, ROOT_INO, S_IFDIR, S_IFLNK, S_IFREG,
};
use crate::ints;
use crate::tree::Attrs;

/// Renders the inodes from number `first`, as many as fit.
pub fn inodes<C: Copy>(plan: &Plan<C>, first: u64, out: &mut [u8]) {
    out.fill(0);
    debug_assert_eq!((first - 1) % INODES_PER_BLOCK, 0);
    for (number, bytes) in
        (first..=plan.space.used_inodes()).zip(out.chunks_exact_mut(ints::to_usize(INODE_SIZE)))
    {
        let number = count(ints::to_usize(number));
        render(plan, number, bytes);
        inode::sign(plan.seed(number), bytes);
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
    inode::I_MODE.put(out, c.mode);
    inode::I_UID.put_low(out, c.attrs.uid.into());
    inode::I_UID_HIGH.put_low(out, u64::from(c.attrs.uid) >> 16);
    inode::I_GID.put_low(out, c.attrs.gid.into());
    inode::I_GID_HIGH.put_low(out, u64::from(c.attrs.gid) >> 16);
    inode::I_SIZE_LO.put_low(out, c.size);
    inode::I_SIZE_HIGH.put_low(out, c.size >> 32);
    let sectors = c.blocks * (BLOCK / 512);
    inode::I_BLOCKS_LO.put_low(out, sectors);
    inode::I_BLOCKS_HIGH.put_low(out, sectors >> 32);
    inode::I_LINKS_COUNT.put(out, c.links);
    inode::I_FLAGS.put(out, c.flags);
    inode::I_EXTRA_ISIZE.put(out, EXTRA_ISIZE);
    for (time, extra, seconds) in [
        (inode::I_ATIME, inode::I_ATIME_EXTRA, epoch),
        (inode::I_CTIME, inode::I_CTIME_EXTRA, epoch),
        (inode::I_MTIME, inode::I_MTIME_EXTRA, c.attrs.mtime),
        (inode::I_CRTIME, inode::I_CRTIME_EXTRA, epoch),
    ] {
        time.put(out, seconds);
        extra.put(out, time_extra(seconds));
    }
}

/// The epoch bits of a time: seconds are read as signed, from 2038 on they need one.
const fn time_extra(time: u32) -> u32 {
    time >> 31
}

fn render<C: Copy>(plan: &Plan<C>, number: u32, out: &mut [u8]) {
    match number {
        ROOT_INO => directory(plan, 0, plan.space.root, out),
        RESIZE_INO => resize_inode(plan, out),
        JOURNAL_INO if plan.geometry.journal_blocks > 0 => journal_inode(plan, out),
        FIRST_INO => {
            let attrs = Attrs { mode: 0o700, uid: 0, gid: 0, mtime: plan.options.epoch };
            directory(plan, count(plan.shapes.len() - 1), attrs, out);
        }
        n if n > FIRST_INO => {
            let inode = plan.space.inodes[index(n - FIRST_INO - 1)];
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
    let links = if links >= LINK_MAX { 1 } else { u16::try_from(links).unwrap_or(1) };
    let size = byte_len(shape);
    let flags = EXTENTS_FL | if shape.is_tree() { INDEX_FL } else { 0 };
    let mode = S_IFDIR | attrs.mode;
    common(out, plan.options.epoch, &Common { mode, attrs, links, size, blocks: size / BLOCK, flags });
    ExtentTree { runs: plan.directory_runs.of(at), blocks: &[] }.inline(I_BLOCK.slice_mut(out));
}

fn file<C: Copy>(plan: &Plan<C>, at: u32, inode: Inode, out: &mut [u8]) {
    let size = plan.space.files[index(at)].len;
    let tree: &[u64] = plan.trees.get(&at).map_or(&[], Vec::as_slice);
    let blocks = size.div_ceil(BLOCK) + ints::to_u64(tree.len());
    let (attrs, mode) = (inode.attrs, S_IFREG | inode.attrs.mode);
    common(out, plan.options.epoch, &Common { mode, attrs, links: 1, size, blocks, flags: EXTENTS_FL });
    ExtentTree { runs: plan.file_runs.of(at), blocks: tree }.inline(I_BLOCK.slice_mut(out));
}

fn symlink<C: Copy>(plan: &Plan<C>, inode: Inode, out: &mut [u8]) {
    let (attrs, mode, epoch) = (inode.attrs, S_IFLNK | inode.attrs.mode, plan.options.epoch);
    match inode.body {
        Body::SlowSymlink(at) => {
            let size = u64::from(plan.space.slow_symlinks[index(at)].len);
            common(out, epoch, &Common { mode, attrs, links: 1, size, blocks: 1, flags: EXTENTS_FL });
            ExtentTree { runs: plan.symlink_runs.of(at), blocks: &[] }.inline(I_BLOCK.slice_mut(out));
        }
        Body::FastSymlink(at, len) => {
            let target = plan.space.fast_target(at, len);
            common(out, epoch, &Common { mode, attrs, links: 1, size: u64::from(len), blocks: 0, flags: 0 });
            I_BLOCK.slice_mut(out)[..target.len()].copy_from_slice(target);
        }
        Body::File(_) | Body::Directory(_) => {}
    }
}

fn journal_inode<C: Copy>(plan: &Plan<C>, out: &mut [u8]) {
    let epoch = plan.options.epoch;
    let attrs = Attrs { mode: 0o600, uid: 0, gid: 0, mtime: epoch };
    let blocks = plan.geometry.journal_blocks + ints::to_u64(plan.journal_tree.len());
    let size = plan.geometry.journal_blocks * BLOCK;
    common(
        out,
        epoch,
        &Common { mode: S_IFREG | attrs.mode, attrs, links: 1, size, blocks, flags: EXTENTS_FL },
    );
    ExtentTree { runs: &plan.journal, blocks: &plan.journal_tree }.inline(I_BLOCK.slice_mut(out));
}

/// The resize inode: one doubly indirect block that leads to every reserved descriptor block of the first group,
/// each of which lists its copies in the other groups.
fn resize_inode<C: Copy>(plan: &Plan<C>, out: &mut [u8]) {
    let g = &plan.geometry;
    let epoch = plan.options.epoch;
    let attrs = Attrs { mode: 0o600, uid: 0, gid: 0, mtime: epoch };
    let backups = ints::to_u64(g.backups().count());
    let blocks = 1 + g.reserved_blocks * (1 + backups);
    // As far as the doubly indirect block can lead.
    let pointers = POINTERS_PER_BLOCK;
    let size = (pointers * pointers + pointers + ints::to_u64(NDIR_BLOCKS)) * BLOCK;
    common(out, epoch, &Common { mode: S_IFREG | attrs.mode, attrs, links: 1, size, blocks, flags: 0 });
    inode::pointer(DIND_BLOCK).put_low(out, plan.resize_indirect);
}
