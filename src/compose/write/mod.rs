//! Moving the bytes of a plan: in ascending order as a [`Source`], or all over a raw file at once.
//!
//! The image is cut into jobs: runs of extents with at most one source of contents among them, read front to back.
//! Workers take jobs in order; each source is streamed, hashed, and compared with its planned tree on the way.

mod ahead;
mod disk;
pub(crate) mod in_place;
mod job;
pub(crate) mod out;
mod raw;
pub(crate) mod run;
pub(crate) mod scattered;
pub(crate) mod what_lies_at;

pub use out::MoveError;
