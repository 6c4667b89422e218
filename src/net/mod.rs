//! Files over http and https: connections kept alive, failures retried, downloads resumed.
//!
//! The rest of a file is asked for only where that is safe: the server gave a strong `ETag` or a date, says with it that
//! the file is still the same (`If-Range`, RFC 9110 13.1.5), and answers with just the bytes that are missing.
//!
//! A login goes to its host only: redirects are followed here, one by one, and each gets the login of its own host. Who
//! asked for https never gets http.

mod address;
mod download;
mod login;

pub use download::Download;
pub use login::{BadNetrc, Netrc, shown};

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

/// How often in a row the rest is asked for in vain.
const TRIES: u32 = 5;
/// Redirects that are followed.
const REDIRECTS: usize = 10;
/// Connections to one server that are kept.
const CONNECTIONS: usize = 32;
/// The longest that a server may ask to wait, in seconds.
const LONGEST_WAIT: u64 = 30;

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

/// A server does not give a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It answers with a status that is no success.
    #[error("the server answers {0}")]
    Status(ureq::http::StatusCode),
    /// It wants to know who asks.
    #[error("the server answers 401 Unauthorized: {0}")]
    Login(String),
    /// It leads on and on, or where nobody may follow.
    #[error("redirected {0}")]
    Redirect(String),
    /// It encodes the file in a way that nobody asked for.
    #[error("the server sends it encoded ({0:?}), expected gzip, br, zstd or nothing")]
    Encoding(String),
    /// There is no answer.
    #[error("{0}")]
    Request(String),
    /// The answer breaks off.
    #[error("{0}")]
    Broken(io::Error),
}

impl Error {
    /// Whether the server says that it has no such file: caches answer 403 as often as 404.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Status(status) if [403, 404, 410].contains(&status.as_u16()))
    }
}

/// Connections to servers, kept alive.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    interrupted: Arc<AtomicBool>,
    netrc: Arc<Netrc>,
    pause: Duration,
}

/// Whether asking again may help.
enum Failure {
    Final(Error),
    Passing(Error, Option<u64>),
}

impl Client {
    /// A client that uses the proxies of the environment, or none.
    #[must_use]
    pub fn new(proxies: bool, interrupted: &Arc<AtomicBool>) -> Self {
        Self::with(proxies, interrupted, Patience::default())
    }

    /// A client that waits as long as it is told to.
    #[must_use]
    pub fn with(proxies: bool, interrupted: &Arc<AtomicBool>, patience: Patience) -> Self {
        let config = Agent::config_builder();
        // Without a word, ureq takes them from the environment.
        let config = if proxies { config } else { config.proxy(None) };
        let agent = config
            .http_status_as_error(false)
            .max_redirects(0)
            .accept_encoding("identity")
            .user_agent(concat!("nixflash/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .max_idle_connections(2 * CONNECTIONS)
            .max_idle_connections_per_host(CONNECTIONS)
            .build()
            .new_agent();
        Self { agent, interrupted: Arc::clone(interrupted), netrc: Arc::default(), pause: patience.pause }
    }

    /// Logs in where `netrc` has a login.
    #[must_use]
    pub fn with_logins(mut self, netrc: Netrc) -> Self {
        self.netrc = Arc::new(netrc);
        self
    }

    /// Asks for a file; what may pass is tried again.
    pub fn get(&self, address: &str) -> Result<Download, Error> {
        let mut tries = 0;
        loop {
            let (error, asked) = match self.once(address) {
                Ok(download) => return Ok(download),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error, asked)) => (error, asked),
            };
            let asked = Duration::from_secs(asked.unwrap_or(0).min(LONGEST_WAIT));
            tries += 1;
            if tries == TRIES || self.wait(asked.max(self.pause(address, tries - 1))).is_err() {
                return Err(error);
            }
        }
    }

    fn once(&self, address: &str) -> Result<Download, Failure> {
        let answer = self.send(address, &[]).map_err(|error| match error {
            Error::Request(_) => Failure::Passing(error, None),
            other => Failure::Final(other),
        });
        let answer = match answer {
            // Refused or unknown hosts do not become known by waiting.
            Err(Failure::Passing(error, _)) if is_final(&error) => return Err(Failure::Final(error)),
            answer => answer?,
        };
        let status = answer.status();
        if status == 200 {
            return Download::new(self, address, answer).map_err(Failure::Final);
        }
        let asked = header(answer.headers(), "retry-after").and_then(|text| text.trim().parse().ok());
        drain(answer);
        match status.as_u16() {
            401 => Err(Failure::Final(self.unauthorized(address))),
            408 | 429 | 500 | 502..=504 => Err(Failure::Passing(Error::Status(status), asked)),
            _ => Err(Failure::Final(Error::Status(status))),
        }
    }

    fn unauthorized(&self, address: &str) -> Error {
        let (address, given) = login::split(address);
        let host = address::host(&address).unwrap_or_default();
        Error::Login(match (given, self.netrc.of(&host)) {
            (None, None) => format!("it wants a login, and netrc has none for {host}"),
            (None, Some(_)) => format!("it does not take the login that netrc has for {host}"),
            (Some(_), _) => "it does not take the login in the address".to_owned(),
        })
    }

    /// Asks once and follows redirects.
    fn send(&self, address: &str, headers: &[(&str, String)]) -> Result<Response<Body>, Error> {
        let (mut at, given) = login::split(address);
        let first = address::origin(&at);
        let mut seen = BTreeSet::new();
        let mut redirects = 0;
        while seen.insert(at.clone()) && redirects <= REDIRECTS {
            let mut request = self.agent.get(&at).config().https_only(at.starts_with("https://")).build();
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            let of_host = || address::host(&at).and_then(|host| self.netrc.of(&host));
            let own = given.as_ref().filter(|_| address::origin(&at) == first);
            if let Some(login) = own.or_else(of_host) {
                request = request.header("authorization", login.header());
            }
            let answer = request.call().map_err(|error| Error::Request(explain(&error)))?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let location = header(answer.headers(), "location").unwrap_or_default().to_owned();
            drain(answer);
            let next = address::resolve(&at, &location);
            // Nobody but the first server was named by the user: what others say of logins does not count.
            let next = next.map(|next| login::split(&next).0);
            let next = next.ok_or_else(|| Error::Redirect(format!("to {location:?}")))?;
            if at.starts_with("https://") && !next.starts_with("https://") {
                return Err(Error::Redirect(format!("from https to {next}, where everybody can listen")));
            }
            at = next;
            redirects += 1;
        }
        Err(Error::Redirect(format!("{redirects} times, at last to {at}")))
    }

    /// How long to wait before the next attempt. Many that failed at once do not come back at once: each address has a
    /// pause of its own.
    fn pause(&self, address: &str, failures: u32) -> Duration {
        let percent = 50 + crc32fast::hash(format!("{failures} {address}").as_bytes()) % 101;
        self.pause * 2_u32.saturating_pow(failures) * percent / 100
    }

    fn wait(&self, time: Duration) -> io::Result<()> {
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

/// What ureq's errors are to people; the marks are those that [`is_final`] knows.
fn explain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => REFUSED.to_owned(),
        ureq::Error::HostNotFound => UNKNOWN.to_owned(),
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => format!("{BAD}: {error}"),
        other => other.to_string(),
    }
}

const REFUSED: &str = "connection refused";
const UNKNOWN: &str = "host not found";
const BAD: &str = "the address cannot be used";

fn is_final(error: &Error) -> bool {
    matches!(error, Error::Request(text) if text == REFUSED || text == UNKNOWN || text.starts_with(BAD))
}

/// Reads an answer to its end, so that the connection can be used again.
fn drain(answer: Response<Body>) {
    drop(io::copy(&mut answer.into_body().into_reader().take(64 << 10), &mut io::sink()));
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ_from_address_to_address() {
        let client = Client::new(false, &Arc::default());
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
