//! Changes to an ext4 that exists.

pub mod grow;
