//! How patient a client is, and what it is told of the network.

use super::authorities::Authorities;
use super::login::Netrc;
use super::proxy::Proxies;
use std::time::Duration;

/// How often in a row the rest is asked for in vain.
pub(super) const TRIES: u32 = 5;
/// Redirects that are followed.
pub(super) const REDIRECTS: usize = 10;
/// Connections to one server that are kept.
pub(super) const CONNECTIONS: usize = 32;
/// The longest that a server may ask to wait, in seconds.
pub(super) const LONGEST_WAIT: u64 = 30;
/// How long to wait for a server.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a connection may take.
    pub connect: Duration,
    /// How long one may say nothing.
    pub silence: Duration,
    /// How long to wait before something is tried again; then twice as long each time, give or take a half.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            silence: Duration::from_secs(60),
            pause: Duration::from_millis(500),
        }
    }
}

/// How servers are reached.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How long is waited.
    pub patience: Patience,
    /// Who logs in where.
    pub logins: Netrc,
    /// Who goes through which proxy.
    pub proxies: Proxies,
    /// Who vouches for servers over https.
    pub authorities: Authorities,
}
