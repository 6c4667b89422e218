//! One file for each command.

pub(crate) mod boards;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod compose;
pub(crate) mod devices;
pub(crate) mod diff;
pub(crate) mod firmware;
pub(crate) mod inspect;
pub(crate) mod lock;
pub(crate) mod reproduce;
pub(crate) mod verify;
pub(crate) mod verify_card;
pub(crate) mod write;
