//! Whether a target may be written: facts, signs on the disk, and the judgement.

pub(crate) mod facts;
pub(crate) mod policy;
pub(crate) mod signatures;
pub(crate) mod summary_line;
pub(crate) mod verdict;
