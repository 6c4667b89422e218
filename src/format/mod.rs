//! On-disk and wire layouts: bytes to values and back. Nothing here opens a file.

pub mod bootspec;
pub mod cpio;
pub mod date;
pub mod export;
pub mod ext4;
pub mod ext4_read;
pub mod extlinux;
pub mod fat;
pub mod fstab;
pub mod json;
pub mod listing;
pub mod minisign;
pub mod nar;
pub mod nar_hash;
pub mod narinfo;
pub mod nix_db;
pub mod partition_table;
pub mod path_info;
pub mod registration;
pub mod store_path;
pub mod systemd_boot;
pub mod usage;
pub mod wire;
pub mod worker_protocol;
