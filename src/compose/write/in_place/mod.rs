//! Contents that go to their place while the closure is still being looked through.
//!
//! Of a NAR without a listing nobody knows the tree before it is decoded, and an image cannot be planned without all trees.
//! But where the files of the store lie depends on nothing that comes after them ([`ext4::Front`]). So a file that can be
//! written anywhere gets them in the same pass: each NAR is decoded once and hashed on the way. The plan, once it is made,
//! is held against what was written, and decides: what does not lie where it says is written again.
//!
//! A NAR can be placed when all before it are. Until then it waits in memory, if it is short enough; else its worker waits
//! for its turn, or, where too many do so already, leaves its contents for later.

pub(crate) mod land;
mod placing;
mod worker;

pub use crate::compose::plan::landed::{Landed, Settled};
pub use land::land;
