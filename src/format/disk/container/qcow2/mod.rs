//! qcow2, versions 2 and 3 (QEMU's `docs/interop/qcow2.rst`).

pub(in crate::format::disk::container) mod ondisk;
mod packed;
mod plain;
pub(in crate::format::disk::container) mod read;

pub use ondisk::{CLUSTER, Compression};
pub use packed::Packed;
pub use plain::Plain;
