//! Metadata as bytes: superblock, descriptors, bitmaps, journal, what the resize inode leads to.
//!
//! Fields are those of `ondisk`; what the resize inode leads to is told by e2fsprogs `lib/ext2fs/res_gdt.c`.

use super::allocate::{Plan, overlapping};
use super::directory::Renderer;
use super::extents::ExtentTree;
use super::geometry::{LOG_FLEX, Run};
use super::inode::inodes;
use super::list::Token;
use super::namespace::index;
use super::options::Purpose;
use crate::bytes::Le32;
use crate::format::disk::ext4::ondisk::block::{
    BLOCK, BLOCK_LEN, DESCRIPTORS_PER_BLOCK, GROUP_BLOCKS, INODE_SIZE_FIELD, LOG_BLOCK_SIZE,
    POINTERS_PER_BLOCK,
};
use crate::format::disk::ext4::ondisk::feature::{COMPAT_HAS_JOURNAL, Features};
use crate::format::disk::ext4::ondisk::inode::{EXTRA_ISIZE, FIRST_INO, JOURNAL_INO};
use crate::format::disk::ext4::ondisk::{group, journal, superblock};
use crate::ints;

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
        Token::Journal => empty_journal(plan, out),
        Token::ResizeIndirect => resize_indirect(plan, out),
        Token::Directories(first) => {
            blocks(out, &|n, block| directory_block(plan, ints::to_usize(n) + index(first), block))
        }
        Token::Symlinks(first) => blocks(out, &|n, block| {
            block.fill(0);
            let target = plan.space.slow_target(&plan.space.slow_symlinks[ints::to_usize(n) + index(first)]);
            block[..target.len()].copy_from_slice(target);
        }),
        Token::ExtentBlock(file, n) => {
            let tree = ExtentTree { runs: plan.file_runs.of(file), blocks: &plan.trees[&file] };
            tree.block(index(n), plan.seed(plan.space.files[index(file)].inode), out);
        }
        Token::JournalExtents(n) => {
            let tree = ExtentTree { runs: &plan.journal, blocks: &plan.journal_tree };
            tree.block(index(n), plan.seed(JOURNAL_INO), out);
        }
    }
}

/// The block with the superblock: behind the boot sector in the first group; at its start elsewhere.
fn superblock_block<C: Copy>(plan: &Plan<C>, group: u64, out: &mut [u8]) {
    out.fill(0);
    let at = if group == 0 { ints::to_usize(superblock::OFFSET) } else { 0 };
    fill_superblock(plan, group, &mut out[at..at + superblock::LEN]);
}

fn fill_superblock<C: Copy>(plan: &Plan<C>, group: u64, s: &mut [u8]) {
    let (g, counts, o) = (&plan.geometry, &plan.summary, &plan.options);
    superblock::S_INODES_COUNT.put_low(s, counts.inodes);
    superblock::S_BLOCKS_COUNT_LO.put_low(s, counts.blocks);
    superblock::S_R_BLOCKS_COUNT_LO.put_low(s, counts.reserved_blocks);
    superblock::S_FREE_BLOCKS_COUNT_LO.put_low(s, counts.free_blocks);
    superblock::S_FREE_INODES_COUNT.put_low(s, counts.free_inodes);
    superblock::S_LOG_BLOCK_SIZE.put(s, LOG_BLOCK_SIZE);
    superblock::S_LOG_CLUSTER_SIZE.put(s, LOG_BLOCK_SIZE);
    superblock::S_BLOCKS_PER_GROUP.put_low(s, GROUP_BLOCKS);
    superblock::S_CLUSTERS_PER_GROUP.put_low(s, GROUP_BLOCKS);
    superblock::S_INODES_PER_GROUP.put_low(s, g.inodes_per_group);
    superblock::S_WTIME.put(s, o.epoch);
    superblock::S_LASTCHECK.put(s, o.epoch);
    superblock::S_MKFS_TIME.put(s, o.epoch);
    superblock::S_MAX_MNT_COUNT.put(s, superblock::NEVER_CHECKED);
    superblock::S_MAGIC.put(s, superblock::MAGIC);
    superblock::S_STATE.put(s, superblock::VALID_FS);
    superblock::S_ERRORS.put(s, superblock::ERRORS_CONTINUE);
    superblock::S_REV_LEVEL.put(s, superblock::DYNAMIC_REV);
    superblock::S_FIRST_INO.put(s, FIRST_INO);
    superblock::S_INODE_SIZE.put(s, INODE_SIZE_FIELD);
    superblock::S_BLOCK_GROUP_NR.put_low(s, group);
    superblock::S_UUID.put(s, &o.uuid);
    superblock::S_VOLUME_NAME.put(s, &o.label.0);
    superblock::S_RESERVED_GDT_BLOCKS.put_low(s, g.reserved_blocks);
    superblock::S_HASH_SEED.put(s, &o.hash_seed);
    superblock::S_DEF_HASH_VERSION.put(s, superblock::HASH_HALF_MD4);
    superblock::S_DEFAULT_MOUNT_OPTS.put(s, superblock::DEFM_XATTR_USER_ACL);
    superblock::S_MIN_EXTRA_ISIZE.put(s, EXTRA_ISIZE);
    superblock::S_WANT_EXTRA_ISIZE.put(s, EXTRA_ISIZE);
    superblock::S_FLAGS.put(s, superblock::FLAGS_SIGNED_HASH);
    superblock::S_LOG_GROUPS_PER_FLEX.put(s, LOG_FLEX);
    superblock::S_CHECKSUM_TYPE.put(s, superblock::CRC32C_CHKSUM);
    superblock::S_OVERHEAD_CLUSTERS.put_low(s, g.fixed_blocks() + g.journal_blocks);
    let features = Features::MADE;
    if g.journal_blocks > 0 {
        features.put(s);
        name_journal(plan, s);
    } else {
        Features { compat: features.compat & !COMPAT_HAS_JOURNAL, ..features }.put(s);
    }
    superblock::sign(s);
}

/// Says where the journal is, and once more what its inode says.
fn name_journal<C: Copy>(plan: &Plan<C>, s: &mut [u8]) {
    let size = plan.geometry.journal_blocks * BLOCK;
    superblock::S_JOURNAL_INUM.put(s, JOURNAL_INO);
    superblock::S_JNL_BACKUP_TYPE.put(s, superblock::JNL_BACKUP_BLOCKS);
    let tree = ExtentTree { runs: &plan.journal, blocks: &plan.journal_tree };
    tree.inline(superblock::S_JNL_BLOCKS.slice_mut(s));
    superblock::S_JNL_SIZE_HI.put_low(s, size >> 32);
    superblock::S_JNL_SIZE_LO.put_low(s, size);
}

fn descriptors<C: Copy>(plan: &Plan<C>, block: u64, out: &mut [u8]) {
    out.fill(0);
    let first = block * DESCRIPTORS_PER_BLOCK;
    let mut scratch = vec![0; BLOCK_LEN];
    for (group, bytes) in (first..plan.geometry.groups).zip(out.chunks_exact_mut(ints::to_usize(group::LEN)))
    {
        descriptor(plan, group, bytes, &mut scratch);
    }
}

fn descriptor<C: Copy>(plan: &Plan<C>, number: u64, d: &mut [u8], scratch: &mut [u8]) {
    let g = &plan.geometry;
    let [block_map, inode_map, table] = g.tables[ints::to_usize(number)];
    let first = number * g.inodes_per_group;
    let used_inodes = plan.space.used_inodes().saturating_sub(first).min(g.inodes_per_group);
    let zeroed = if plan.options.purpose == Purpose::Image { group::INODE_ZEROED } else { 0 };
    let uninit = if used_inodes == 0 { group::INODE_UNINIT } else { 0 };
    let seed = plan.file_system_seed();
    group::BG_BLOCK_BITMAP.put(d, block_map);
    group::BG_INODE_BITMAP.put(d, inode_map);
    group::BG_INODE_TABLE.put(d, table);
    group::BG_FREE_BLOCKS_COUNT.put(d, g.group(number).len - plan.used_blocks(number));
    group::BG_FREE_INODES_COUNT.put(d, g.inodes_per_group - used_inodes);
    group::BG_USED_DIRS_COUNT.put(d, directories_in(plan, first + 1, first + g.inodes_per_group));
    group::BG_FLAGS.put(d, zeroed | uninit);
    block_bitmap(plan, number, scratch);
    group::BG_BLOCK_BITMAP_CSUM.put(d, group::bitmap_sum(seed, scratch, d.len()).into());
    if uninit == 0 {
        inode_bitmap(plan, number, scratch);
        let covered = &scratch[..ints::to_usize(g.inodes_per_group / 8)];
        group::BG_INODE_BITMAP_CSUM.put(d, group::bitmap_sum(seed, covered, d.len()).into());
    }
    group::BG_ITABLE_UNUSED.put(d, g.inodes_per_group - used_inodes);
    // cannot fail: with more groups the plan is refused
    group::sign(seed, u32::try_from(number).unwrap_or(0), d);
}

/// How many directories have inodes in a range of numbers.
fn directories_in<C>(plan: &Plan<C>, from: u64, to: u64) -> u64 {
    // Directories are in walking order, so their inodes ascend; lost+found, the last, has a reserved number.
    let (lost_found, walked) =
        plan.space.directories.split_last().map_or((None, &[][..]), |(last, rest)| (Some(last), rest));
    let below = |limit: u64| ints::to_u64(walked.partition_point(|dir| u64::from(dir.inode) < limit));
    let lost_found = lost_found.is_some_and(|dir| (from..=to).contains(&u64::from(dir.inode)));
    below(to + 1) - below(from) + u64::from(lost_found)
}

fn set_bits(out: &mut [u8], from: u64, to: u64) {
    for bit in from..to {
        let byte = ints::to_usize(bit / 8);
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
        let slot = ints::to_usize((g.descriptor_blocks + n) % POINTERS_PER_BLOCK);
        Le32(slot * Le32::LEN).put_low(out, first + n);
    }
}

fn reserved<C: Copy>(plan: &Plan<C>, n: u64, out: &mut [u8]) {
    out.fill(0);
    let block = 1 + plan.geometry.descriptor_blocks + n;
    for (slot, group) in plan.geometry.backups().enumerate() {
        Le32(slot * Le32::LEN).put_low(out, group * GROUP_BLOCKS + block);
    }
}

fn directory_block<C: Copy>(plan: &Plan<C>, at: usize, out: &mut [u8]) {
    let (directory, block) = plan.directory_blocks[at];
    let (dir, shape) = (&plan.space.directories[index(directory)], &plan.shapes[index(directory)]);
    Renderer { space: &plan.space, dir, shape, seed: plan.seed(dir.inode) }.block(block, out);
}

/// The superblock of a journal in which nothing is.
fn empty_journal<C: Copy>(plan: &Plan<C>, out: &mut [u8]) {
    out.fill(0);
    journal::H_MAGIC.put(out, journal::MAGIC);
    journal::H_BLOCKTYPE.put(out, journal::SUPERBLOCK_V2);
    // cannot fail: a block has 4096 bytes, a journal at most 16384 blocks
    journal::S_BLOCKSIZE.put(out, u32::try_from(BLOCK).unwrap_or(0));
    journal::S_MAXLEN.put(out, u32::try_from(plan.geometry.journal_blocks).unwrap_or(0));
    journal::S_FIRST.put(out, 1);
    journal::S_SEQUENCE.put(out, 1);
    journal::S_NR_USERS.put(out, 1);
    journal::S_UUID.put(out, &plan.options.uuid);
}
