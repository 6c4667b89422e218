//! What lies where in a FAT: shared by writer, reader and judge.

pub(crate) mod boot_sector;
pub(crate) mod case;
pub(crate) mod entry;
pub(crate) mod name;
pub(crate) mod slot;
pub(crate) mod stamp;
