//! Questions to the user.

pub(crate) mod disks;
pub(crate) mod dry_run;
pub(crate) mod existing;
pub(crate) mod open;
pub(crate) mod password;
pub(crate) mod target;
