//! Disks as Linux shows them: sysfs, procfs, block devices, UDisks2.

pub(crate) mod device_of_file;
pub(crate) mod disks;
pub(crate) mod list;
pub(crate) mod loops;
pub(crate) mod mounts;
pub(crate) mod open;
pub(crate) mod resolve;
pub(crate) mod roots;
pub(crate) mod udisks;
pub(crate) mod unmount;
