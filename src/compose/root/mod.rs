//! The files of the root that nixflash makes.

pub(crate) mod boot_digests;
pub(crate) mod etc_nixos;
pub(crate) mod files;
pub(crate) mod manifest_text;
pub(crate) mod skeleton;
