//! Nix's own formats: archives, what is said of store paths, databases, the protocol of its daemon.

pub mod database;
pub mod export;
pub mod listing;
pub mod nar;
pub mod nar_hash;
pub mod narinfo;
pub mod path_info;
pub mod registration;
pub mod store_path;
pub mod wire;
pub mod worker_protocol;
pub mod write_ahead_log;
