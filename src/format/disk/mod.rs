//! File systems and partition tables: what lies at which byte of a disk.

pub mod container;
pub mod ext4;
pub mod fat;
pub mod partition_table;
pub mod usage;
