//! Why a daemon does not give what it is asked for.

use crate::format::nix::wire;
use std::io;

/// Bytes of messages before an answer, after which a daemon is thought to talk for ever.
pub(super) const MAX_TALK: u64 = 16 << 20;

/// A daemon does not give what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no daemon, or no way to it.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// It does not take what is said.
    #[error("it does not listen any more: {0}")]
    Write(io::Error),
    /// It does not answer.
    #[error("it said nothing for {seconds} s while reading {what}")]
    Silent {
        /// What it should have said.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// What it says is not of the protocol.
    #[error(transparent)]
    Wire(wire::Error),
    /// It says why not.
    #[error("the daemon says: {0}")]
    Refused(String),
    /// The way to it breaks again and again.
    #[error("the connection broke and could not be made again: {0}")]
    Lost(Box<Error>),
    /// It only talks.
    #[error("more than {MAX_TALK} bytes of messages and no answer")]
    Endless,
}

impl Error {
    /// Whether the way is at fault, so that another connection may do.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Write(_) | Self::Silent { .. } => true,
            Self::Wire(error) => error.is_broken_stream(),
            Self::Refused(_) | Self::Endless | Self::Lost(_) => false,
        }
    }
}
