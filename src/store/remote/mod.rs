//! Stores that are far away, and the directory of what was fetched.

pub(crate) mod download_dir;
pub(crate) mod fetch_order;
pub(crate) mod http;
pub(crate) mod listings;
pub(crate) mod progress;
pub(crate) mod threads;
