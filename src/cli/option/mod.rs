//! Sets of options that commands share.

pub(crate) mod embed;
mod gathered;
pub(crate) mod image_source;
pub(crate) mod network;
pub(crate) mod packing;
pub(crate) mod pins;
pub(crate) mod stores;
pub(crate) mod system;
pub(crate) mod system_source;
pub(crate) mod transfers;
pub(crate) mod trusted_keys;
pub(crate) mod words;
