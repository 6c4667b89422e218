//! Why contents from elsewhere may be believed.

pub(crate) mod content_address;
pub(crate) mod keys;
