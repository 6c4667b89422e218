//! The files of the root that nixflash makes.

pub(crate) mod boot_digests;
pub mod configuration;
pub(crate) mod files;
pub(crate) mod manifest_text;
pub(crate) mod skeleton;
