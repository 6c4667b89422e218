//! Files over http and https: connections kept alive, failures retried, downloads resumed.
//!
//! The rest of a file is asked for only where that is safe: the server gave a strong `ETag` or a date, says with it that
//! the file is still the same (`If-Range`, RFC 9110 13.1.5), and answers with just the bytes that are missing.
//!
//! A login goes to its host only: redirects are followed here, one by one, and each gets the login of its own host. Who
//! asked for https never gets http.

mod address;
mod authorities;
pub(crate) mod client;
mod download;
mod fault;
mod forward;
mod login;
mod proxy;
pub(crate) mod settings;

pub use authorities::{Authorities, BadAuthorities};
pub use download::Download;
pub use fault::Error;
pub use login::{BadNetrc, Netrc, shown};
pub use proxy::{BadProxy, Proxies};

pub use client::Client;
pub use settings::{Patience, Settings};
