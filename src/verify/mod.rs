//! Whether a card holds an image, byte for byte; or, without one, what it says of itself; and how two cards differ.

pub mod card;
mod compare;
pub mod facts;
pub mod ranges;

pub use compare::{Comparison, Error, Options, compare};
