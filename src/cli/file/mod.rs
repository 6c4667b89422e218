//! Files of the user's that are read or written.

pub(crate) mod board;
pub(crate) mod extracted;
pub(crate) mod kept;
pub(crate) mod lock;
pub(crate) mod nix_conf;
pub(crate) mod output_image;
pub(crate) mod project;
pub(crate) mod stranger;
pub(crate) mod toml_text;
