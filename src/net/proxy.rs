//! Proxies: which addresses go through which, as curl and Nix decide it.
//!
//! ```text
//! PROXY = [ "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h" "://" ] [ NAME [ ":" PASSWORD ] "@" ] HOST [ ":" PORT ]
//! EXCEPTIONS = "*" | { HOST | "." HOST | ADDRESS | ADDRESS "/" BITS } separated by "," or white space
//! ```
//! A host stands for all hosts below it too. Source: curl `lib/url.c`, `lib/noproxy.c`.

use super::{address, login};
use std::net::IpAddr;

/// A proxy; its login is not shown.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) inner: ureq::Proxy,
    shown: String,
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, BadProxy> {
        let text = text.trim();
        // Without a scheme it speaks http, on the port that curl takes for it.
        let address = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let shown = login::shown(address.trim_end_matches('/'));
        let bad = || BadProxy { shown: shown.clone() };
        let is_socks = address.starts_with("socks");
        let has_port = address::origin(&shown).is_some_and(|origin| port(&origin).is_some());
        let usual = if is_socks || has_port || address.starts_with("https") { "" } else { ":1080" };
        let inner = ureq::Proxy::new(&with_port(&address, usual)).map_err(|_| bad())?;
        if inner.host().is_empty() {
            return Err(bad());
        }
        Ok(Self { inner, shown })
    }

    /// Its address, without a login.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn has_login(&self) -> bool {
        self.inner.username().is_some()
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The port of `SCHEME://HOST:PORT`.
fn port(origin: &str) -> Option<&str> {
    let (_, host) = origin.split_once("://")?;
    let behind = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
    behind.split_once(':').map(|(_, port)| port)
}

/// An address with a port behind its host.
fn with_port(address: &str, port: &str) -> String {
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find(['/', '?', '#']).map_or(address.len(), |at| start + at);
    format!("{}{port}{}", &address[..end], &address[end..])
}

/// An address that no proxy can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is no proxy, expected [http://|https://|socks5h://][NAME:PASSWORD@]HOST[:PORT]")]
pub struct BadProxy {
    /// The address without a login.
    shown: String,
}

/// Who goes through which proxy.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

impl Proxies {
    /// The proxy of addresses that begin with `http://`.
    pub fn for_http(mut self, proxy: &str) -> Result<Self, BadProxy> {
        self.http = Some(Proxy::parse(proxy)?);
        Ok(self)
    }

    /// The proxy of addresses that begin with `https://`.
    pub fn for_https(mut self, proxy: &str) -> Result<Self, BadProxy> {
        self.https = Some(Proxy::parse(proxy)?);
        Ok(self)
    }

    /// Hosts that are reached without.
    #[must_use]
    pub fn except(mut self, list: &str) -> Self {
        let words = list.split(|c: char| c == ',' || c.is_whitespace());
        self.exceptions = words.filter(|word| !word.is_empty()).map(Exception::parse).collect();
        self
    }

    /// The proxy of an address.
    pub(super) fn of(&self, address: &str) -> Option<&Proxy> {
        let proxy = if address.starts_with("https://") { &self.https } else { &self.http };
        let host = address::host(address)?;
        proxy.as_ref().filter(|_| !self.exceptions.iter().any(|exception| exception.holds(&host)))
    }
}

/// Hosts that are reached without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    All,
    Below(String),
    Network(IpAddr, u32),
}

impl Exception {
    fn parse(word: &str) -> Self {
        if word == "*" {
            return Self::All;
        }
        let (address, bits) = word.split_once('/').map_or((word, None), |(a, bits)| (a, Some(bits)));
        let address = address.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if let Ok(address) = address {
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(whole), |bits| bits.parse().ok());
            if let Some(bits) = bits.filter(|bits| *bits <= whole) {
                return Self::Network(address, bits);
            }
        }
        let host = word.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
        Self::Below(host.to_ascii_lowercase())
    }

    fn holds(&self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::Below(name) => {
                let rest = host.trim_end_matches('.').strip_suffix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Self::Network(network, bits) => match (network, host.parse::<IpAddr>()) {
                (IpAddr::V4(network), Ok(IpAddr::V4(address))) => {
                    let differs = network.to_bits() ^ address.to_bits();
                    *bits == 0 || differs >> (32 - bits) == 0
                }
                (IpAddr::V6(network), Ok(IpAddr::V6(address))) => {
                    let differs = network.to_bits() ^ address.to_bits();
                    *bits == 0 || differs >> (128 - bits) == 0
                }
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_goes_through_the_proxy_of_its_scheme_unless_its_host_is_excepted() {
        let exceptions = "example.org, .corp *.lan 10.0.0.0/8,[::1] 192.168.7.9,fe80::/10,UPPER";
        let proxies = Proxies::default().for_http("one:3128").unwrap();
        let proxies = proxies.for_https("http://two:8080/").unwrap().except(exceptions);
        let through = |address: &str| proxies.of(address).map(|proxy| proxy.shown().to_owned());
        for (address, expected) in [
            ("http://host/x", Some("http://one:3128")),
            ("https://host/x", Some("http://two:8080")),
            ("https://example.org/x", None),
            ("https://a.example.org:8443/x", None),
            ("https://notexample.org/x", Some("http://two:8080")),
            ("http://corp", None),
            ("http://a.corp/", None),
            ("http://a.lan/", None),
            ("http://10.200.1.2:5000/", None),
            ("http://11.0.0.1/", Some("http://one:3128")),
            ("http://[::1]:5000/", None),
            ("http://[fe80::7]/", None),
            ("http://[2001::7]/", Some("http://one:3128")),
            ("http://192.168.7.9/", None),
            ("http://192.168.7.8/", Some("http://one:3128")),
            ("http://upper/", None),
        ] {
            assert_eq!(through(address).as_deref(), expected, "{address}");
        }
        assert!(proxies.clone().except("*").of("http://host/").is_none());
        assert!(proxies.except("").of("http://example.org/").is_some());
        assert!(Proxies::default().of("http://host/").is_none());
    }

    #[test]
    fn a_proxy_has_a_kind_a_port_and_a_login_that_is_not_shown() {
        for (text, kind, port, shown) in [
            ("host", "HTTP", 1080, "http://host"),
            ("http://host", "HTTP", 1080, "http://host"),
            ("http://me:p%40w@host:3128/", "HTTP", 3128, "http://host:3128"),
            ("https://host", "HTTPS", 443, "https://host"),
            ("socks5h://[::1]", "SOCKS5h", 1080, "socks5h://[::1]"),
            ("http://[::1]", "HTTP", 1080, "http://[::1]"),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            let found = (proxy.inner.protocol().to_string(), proxy.inner.port(), proxy.shown());
            assert_eq!((found.0.as_str(), found.1, found.2), (kind, port, shown), "{text}");
            assert_eq!(proxy.has_login(), text.contains('@'));
        }
        for bad in ["ftp://host", "http://", "a b", "http://me:secret@"] {
            let error = Proxy::parse(bad).unwrap_err().to_string();
            assert!(error.contains("is no proxy") && !error.contains("secret"), "{error}");
        }
    }
}
