//! Why contents from elsewhere may be believed.

pub(crate) mod content_address;
pub(crate) mod hash_modulo;
pub(crate) mod keys;
