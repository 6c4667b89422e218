//! Whether a card holds an image, byte for byte; or, without one, what it says of itself.

mod compare;
pub mod content;

pub use compare::{Comparison, Error, Options, compare};
