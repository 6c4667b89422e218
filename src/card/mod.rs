//! What a finished card is, as values without I/O: what it says of itself, and where on it things lie.
//!
//! Those who compose, change, judge and show cards share these names and shapes, never a decision.

pub mod firmware_record;
mod json_text;
mod lenient;
pub mod manifest;
pub mod paths;
