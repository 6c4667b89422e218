//! Requests, redirects and answers.

use super::address;
use super::fault;
use super::fault::Error;
use super::fault::Failure;
use super::forward::Forward;
use super::login;
use super::login::Netrc;
use super::proxy::Proxies;
use super::proxy::Proxy;
use super::settings::CONNECTIONS;
use super::settings::REDIRECTS;
use super::settings::Settings;
use std::collections::BTreeSet;
use std::io;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use ureq::Agent;
use ureq::Body;
use ureq::http::HeaderMap;
use ureq::http::Response;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::ConnectProxyConnector;
use ureq::unversioned::transport::Connector;
use ureq::unversioned::transport::RustlsConnector;
use ureq::unversioned::transport::SocksConnector;
use ureq::unversioned::transport::TcpConnector;

/// Connections to servers, kept alive.
#[derive(Clone)]
pub struct Client {
    pub(super) agent: Agent,
    pub(super) interrupted: Arc<AtomicBool>,
    pub(super) netrc: Arc<Netrc>,
    pub(super) proxies: Arc<Proxies>,
    pub(super) pause: Duration,
    pub(super) unusable: Option<Arc<str>>,
}

/// What a server answers, and the proxy that it came through.
pub(super) struct Answer<'a> {
    pub(super) response: Response<Body>,
    pub(super) proxy: Option<&'a Proxy>,
}

impl Client {
    /// A client that asks as patiently as the settings say, and stops when `interrupted` is set.
    #[must_use]
    pub fn new(interrupted: &Arc<AtomicBool>, settings: Settings) -> Self {
        let Settings { patience, logins, proxies, authorities } = settings;
        let tls = TlsConfig::builder().root_certs(authorities.roots()).build();
        let config = Agent::config_builder()
            // Each request has its own; without a word ureq would look into the environment.
            .proxy(None)
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .accept_encoding("identity")
            .user_agent(concat!("nixflash/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .max_idle_connections(2 * CONNECTIONS)
            .max_idle_connections_per_host(CONNECTIONS)
            .build();
        let connector =
            ().chain(SocksConnector::default())
                .chain(Forward::new(&config))
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(RustlsConnector::default());
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Self {
            agent,
            interrupted: Arc::clone(interrupted),
            netrc: Arc::new(logins),
            proxies: Arc::new(proxies),
            pause: patience.pause,
            unusable: None,
        }
    }

    /// A client that reaches nothing, and tells why when it is asked to.
    #[must_use]
    pub fn unusable(interrupted: &Arc<AtomicBool>, why: String) -> Self {
        Self { unusable: Some(why.into()), ..Self::new(interrupted, Settings::default()) }
    }

    /// The proxy that an address goes through.
    #[must_use]
    pub fn proxy_of(&self, address: &str) -> Option<&str> {
        self.proxies.of(address).map(Proxy::shown)
    }

    pub(super) fn unauthorized(&self, address: &str) -> Error {
        let (address, given) = login::split(address);
        let host = address::host(&address).unwrap_or_default();
        Error::Login(match (given, self.netrc.of(&host)) {
            (None, None) => format!("it wants a login, and netrc has none for {host}"),
            (None, Some(_)) => format!("it does not take the login that netrc has for {host}"),
            (Some(_), _) => "it does not take the login in the address".to_owned(),
        })
    }

    /// Asks once and follows redirects.
    pub(super) fn send(&self, address: &str, headers: &[(&str, String)]) -> Result<Answer<'_>, Failure> {
        let redirect = |what: String| Failure::Final(Error::Redirect(what));
        let (mut at, given) = login::split(address);
        let first = address::origin(&at);
        let mut seen = BTreeSet::new();
        let mut redirects = 0;
        while seen.insert(at.clone()) && redirects <= REDIRECTS {
            let proxy = self.proxies.of(&at);
            let config = self.agent.get(&at).config().https_only(at.starts_with("https://"));
            let mut request = config.proxy(proxy.map(|proxy| proxy.inner.clone())).build();
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            let of_host = || address::host(&at).and_then(|host| self.netrc.of(&host));
            let own = given.as_ref().filter(|_| address::origin(&at) == first);
            if let Some(login) = own.or_else(of_host) {
                request = request.header("authorization", login.header());
            }
            let response = request.call().map_err(|error| fault::explain(&error, &at, proxy))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer { response, proxy });
            }
            let location = header(response.headers(), "location").unwrap_or_default().to_owned();
            drain(response);
            let next = address::resolve(&at, &location);
            // Nobody but the first server was named by the user: what others say of logins does not count.
            let next = next.map(|next| login::split(&next).0);
            let next = next.ok_or_else(|| redirect(format!("to {location:?}")))?;
            if at.starts_with("https://") && !next.starts_with("https://") {
                return Err(redirect(format!("from https to {next}, where everybody can listen")));
            }
            at = next;
            redirects += 1;
        }
        Err(redirect(format!("{redirects} times, at last to {at}")))
    }

    /// How long to wait before the next attempt. Many that failed at once do not come back at once: each address has a
    /// pause of its own.
    pub(super) fn pause(&self, address: &str, failures: u32) -> Duration {
        let percent = 50 + crc32fast::hash(format!("{failures} {address}").as_bytes()) % 101;
        self.pause * 2_u32.saturating_pow(failures) * percent / 100
    }

    pub(super) fn wait(&self, time: Duration) -> io::Result<()> {
        let step = Duration::from_millis(50);
        let mut left = time;
        while !left.is_zero() {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(broken("interrupted".to_owned()));
            }
            std::thread::sleep(left.min(step));
            left = left.saturating_sub(step);
        }
        Ok(())
    }
}

/// Reads an answer to its end, so that the connection can be used again.
pub(super) fn drain(answer: Response<Body>) {
    drop(io::copy(&mut answer.into_body().into_reader().take(64 << 10), &mut io::sink()));
}
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
pub(super) fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ_from_address_to_address() {
        let client = Client::new(&Arc::default(), Settings::default());
        let pause = |address: &str, failures| client.pause(address, failures).as_millis();
        for failures in 0..5 {
            let range = (250 << failures)..=(750 << failures);
            let pauses: BTreeSet<u128> =
                (0..50).map(|n| pause(&format!("http://host/{n}"), failures)).collect();
            assert!(pauses.len() > 20 && pauses.iter().all(|pause| range.contains(pause)), "{pauses:?}");
        }
        assert_eq!(pause("http://host/1", 1), pause("http://host/1", 1));
    }
}
