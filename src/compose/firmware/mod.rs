//! Firmware and boot loaders that no NixOS system holds.

pub(crate) mod channel;
pub(crate) mod find;
pub(crate) mod package;
pub(crate) mod raw_loaders;
