//! Plain http through a proxy: the request line names the whole address (RFC 9112, 3.2.2).
//!
//! ureq asks every proxy for a tunnel, which many give to port 443 only. A request for `http://` goes to the proxy itself.

use super::login;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport};
use ureq::{Error, Proxy, ProxyProtocol};

/// Connects to the proxy where a plain address goes through one.
pub(super) struct Forward {
    /// The way to the proxy, which leads through no other.
    direct: Config,
}

impl Forward {
    pub(super) fn new(direct: &Config) -> Self {
        Self { direct: direct.clone() }
    }
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forward")
    }
}

fn is_plain(uri: &Uri) -> bool {
    uri.scheme_str() == Some("http")
}

impl<In: Transport> Connector<In> for Forward {
    type Out = Either<In, Forwarded>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let proxy = details.config.proxy();
        let proxy = proxy
            .filter(|proxy| matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https))
            .filter(|_| chained.is_none() && is_plain(details.uri));
        let (Some(proxy), Some(authority)) = (proxy, details.uri.authority()) else {
            return Ok(chained.map(Either::A));
        };
        let addrs = details.resolver.resolve(proxy.uri(), &self.direct, details.timeout)?;
        let to_proxy = ConnectionDetails {
            uri: proxy.uri(),
            addrs,
            config: &self.direct,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let inner = (details.run_connector)(&to_proxy)?;
        let (target, login) = (format!("http://{authority}"), authorization(proxy));
        Ok(Some(Either::B(Forwarded { inner, target, login })))
    }
}

/// The header that tells the proxy who asks; empty without a login.
fn authorization(proxy: &Proxy) -> String {
    let Some(name) = proxy.username() else { return String::new() };
    let value = login::basic(name, proxy.password().unwrap_or_default());
    format!("Proxy-Authorization: {value}\r\n")
}

/// A connection to a proxy for one server.
pub(super) struct Forwarded {
    inner: Box<dyn Transport>,
    target: String,
    login: String,
}

impl std::fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forwarded")
    }
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    /// A request has no body and fits into the buffer, so what is sent is always one head.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let buffer = self.inner.buffers().output();
        let whole = buffer.get(..amount).and_then(|head| whole(head, &self.target, &self.login));
        let whole = whole.ok_or(Error::ConnectProxyFailed("cannot be asked for this".to_owned()))?;
        let room = buffer.get_mut(..whole.len());
        room.ok_or(Error::BadUri("is too long".to_owned()))?.copy_from_slice(&whole);
        self.inner.transmit_output(whole.len(), timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// The head of a request with the whole address, and with the login for the proxy.
fn whole(head: &[u8], target: &str, login: &str) -> Option<Vec<u8>> {
    let rest = head.strip_prefix(b"GET ")?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let slash: &[u8] = if rest.starts_with(b"/") { b"" } else { b"/" };
    let parts = [b"GET ", target.as_bytes(), slash, &rest[..end], login.as_bytes(), &rest[end..]];
    Some(parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_line_names_the_whole_address_and_the_login_follows() {
        let head = b"GET /a?b HTTP/1.1\r\nhost: h:1\r\n\r\n";
        let login = "Proxy-Authorization: Basic x\r\n";
        let expected = "GET http://h:1/a?b HTTP/1.1\r\nProxy-Authorization: Basic x\r\nhost: h:1\r\n\r\n";
        assert_eq!(whole(head, "http://h:1", login).unwrap(), expected.as_bytes());
        assert_eq!(whole(b"GET ?b HTTP/1.1\r\n", "http://h", "").unwrap(), b"GET http://h/?b HTTP/1.1\r\n");
        assert_eq!(whole(b"POST / HTTP/1.1\r\n", "http://h", ""), None);
    }
}
