//! What a built system says of itself.

pub(crate) mod generations;
pub(crate) mod growth;
pub(crate) mod initrd;
pub(crate) mod own_configuration;
pub mod secrets;
pub(crate) mod secrets_appender;
pub(crate) mod toplevel;
