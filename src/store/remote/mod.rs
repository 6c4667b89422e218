//! Stores that are far away, and the directory of what was fetched.

mod cache;
pub(crate) mod download_dir;
pub(crate) mod fetch_order;
pub(crate) mod http;
mod listed;
pub(crate) mod listings;
mod orders;
pub(crate) mod progress;
pub(crate) mod threads;
