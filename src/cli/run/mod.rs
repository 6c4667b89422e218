//! Programs that are run: git, nix, ssh.

pub(crate) mod git;
pub(crate) mod nix;
pub(crate) mod ssh;
