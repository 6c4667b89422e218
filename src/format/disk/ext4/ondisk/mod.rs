//! What lies where in an ext4, and how it is summed: shared by writer, reader and judge.

pub(crate) mod block;
pub(crate) mod checksum;
pub(crate) mod hash;
