//! Why a card cannot be judged.

use std::io;

/// A card cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has no root of a NixOS.
    #[error("there is no NixOS on it: {0}")]
    NotOurs(String),
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(io::Error),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}
