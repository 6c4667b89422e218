//! The systems of a profile, the newest last.

use super::toplevel::Toplevel;
use crate::compose::closure::Forest;
use crate::compose::error::Error;
use crate::format::nix::store_path::StorePath;

/// Reads every generation.
pub fn generations(forest: &Forest, systems: &[StorePath]) -> Result<Vec<Toplevel>, Error> {
    systems.iter().map(|system| Toplevel::read(forest, system)).collect()
}
