//! A store behind a Nix daemon: on a socket of this machine, or through ssh.
//!
//! What a daemon sends is kept as caches over http keep theirs, packed, under the hash of the NAR.

pub(crate) mod client;
mod connection;
mod line;
pub(crate) mod patience;

pub use client::Daemon;
