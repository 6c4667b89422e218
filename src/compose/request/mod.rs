//! What is to be composed: a system, a board, firmware, a configuration.

pub(crate) mod channels;
pub(crate) mod composition;
pub mod configuration;
pub(crate) mod given;
