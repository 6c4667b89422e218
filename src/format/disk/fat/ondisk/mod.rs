//! The fields of a FAT: shared by writer and reader.

pub(crate) mod case;
pub(crate) mod entry;
pub(crate) mod label;
pub(crate) mod name;
pub(crate) mod slot;
pub(crate) mod stamp;
