//! What lies where in an ext4, and how it is summed: shared by writer, reader and judge.

pub(crate) mod block;
pub(crate) mod checksum;
pub(crate) mod directory;
pub(crate) mod extent;
pub(crate) mod feature;
pub(crate) mod group;
pub(crate) mod hash;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod superblock;
