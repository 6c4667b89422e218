//! Questions to the user.

pub(crate) mod password;
pub(crate) mod target;
