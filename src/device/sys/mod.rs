//! The few questions that are put to the operating system.

pub(crate) mod linux;
