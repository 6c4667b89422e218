//! Images as they come: sparse files, streams, packed ones.

pub mod disk;
pub mod layers;
pub mod open;
pub mod sparse;
pub mod stream;
