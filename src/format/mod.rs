//! On-disk and wire layouts: bytes to values and back. Nothing here opens a file.

pub mod ext4;
pub mod fat;
pub mod store_path;
