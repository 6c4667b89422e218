//! Questions to the user.

pub(crate) mod existing;
pub(crate) mod password;
pub(crate) mod target;
