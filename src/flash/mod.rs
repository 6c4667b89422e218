//! Writing an image to one card or several: decoded once, a thread for each card.
//!
//! The caller's thread decodes, cuts and digests; each card's thread writes, flushes, reads back and writes the table,
//! in the order that [`device::write`](crate::device::write) makes the only one. Blocks are shared, not copied. Their
//! number is fixed: that bounds the memory, and how far a card may fall behind before the others wait for it. A card
//! that fails drops out at once.

mod lane;
pub(crate) mod request;
pub(crate) mod run;

pub use request::{Card, Options, Outcome};
pub use run::write;
