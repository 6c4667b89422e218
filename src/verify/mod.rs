//! Whether a card holds an image, byte for byte.

mod compare;

pub use compare::{Comparison, Error, Options, compare};
