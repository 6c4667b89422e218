//! The plan as values: identifiers, layout, what it says of itself, what lies in its file already.

pub(crate) mod identity;
pub(crate) mod ids;
pub(crate) mod image;
pub(crate) mod landed;
pub(crate) mod layout;
pub(crate) mod piece;
pub(crate) mod summary;
