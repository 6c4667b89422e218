//! Files over http and https: connections kept alive, failures retried, downloads resumed.
//!
//! The rest of a file is asked for only where that is safe: the server gave a strong `ETag` or a date, says with it that
//! the file is still the same (`If-Range`, RFC 9110 13.1.5), and answers with just the bytes that are missing.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

/// How long a connection may take, and how long one may say nothing.
const CONNECT: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(60);
/// How often in a row the rest is asked for in vain, and how long to wait before the first time; then twice as long.
const TRIES: u32 = 5;
const WAIT: Duration = Duration::from_millis(500);

/// A server does not give a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It answers with a status that is no success.
    #[error("the server answers {0}")]
    Status(ureq::http::StatusCode),
    /// There is no answer.
    #[error("{0}")]
    Request(String),
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
}

/// Connections to one server that are kept.
const CONNECTIONS: usize = 32;
/// The longest that a server may ask to wait, in seconds.
const LONGEST_WAIT: u64 = 30;

impl Client {
    /// A client that uses the proxies of the environment, or none.
    #[must_use]
    pub fn new(proxies: bool, interrupted: &Arc<AtomicBool>) -> Self {
        let config = Agent::config_builder();
        // Without a word, ureq takes them from the environment.
        let config = if proxies { config } else { config.proxy(None) };
        let agent = config
            .http_status_as_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("nixflash/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .max_idle_connections(2 * CONNECTIONS)
            .max_idle_connections_per_host(CONNECTIONS)
            .build()
            .new_agent();
        Self { agent, interrupted: Arc::clone(interrupted) }
    }

    /// Asks for a file; what may pass is tried again.
    pub fn get(&self, address: &str) -> Result<Download, Error> {
        let mut tries = 0;
        loop {
            // Who asked for https does not get http.
            let request =
                self.agent.get(address).config().https_only(address.starts_with("https://")).build();
            let (error, pause) = match request.call() {
                Ok(answer) if answer.status() == 200 => return Ok(Download::new(self, address, answer)),
                Ok(answer) => {
                    let status = answer.status();
                    let pause = number(answer.headers(), "retry-after");
                    // Read to its end, so that the connection can be used again.
                    drop(io::copy(&mut reader(answer).take(64 << 10), &mut io::sink()));
                    if !matches!(status.as_u16(), 429 | 500 | 502..=504) {
                        return Err(Error::Status(status));
                    }
                    (Error::Status(status), pause)
                }
                // Refused or unknown hosts do not become known by waiting.
                Err(
                    error @ (ureq::Error::HostNotFound
                    | ureq::Error::BadUri(_)
                    | ureq::Error::RequireHttpsOnly(_)),
                ) => {
                    return Err(Error::Request(error.to_string()));
                }
                Err(error) => {
                    let refused = matches!(&error, ureq::Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused);
                    let error = Error::Request(error.to_string());
                    if refused {
                        return Err(error);
                    }
                    (error, None)
                }
            };
            tries += 1;
            let asked = Duration::from_secs(pause.unwrap_or(0).min(LONGEST_WAIT));
            if tries == TRIES || self.wait(asked.max(WAIT * 2_u32.pow(tries - 1))).is_err() {
                return Err(error);
            }
        }
    }

    fn wait(&self, time: Duration) -> io::Result<()> {
        let mut waited = Duration::ZERO;
        while waited < time {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(broken("interrupted".to_owned()));
            }
            let step = Duration::from_millis(50);
            std::thread::sleep(step);
            waited += step;
        }
        Ok(())
    }
}

/// The file at an address.
pub struct Download {
    client: Client,
    address: String,
    body: Box<dyn Read + Send>,
    position: u64,
    len: Option<u64>,
    /// What tells that the file is the same; without it nothing is resumed.
    validator: Option<String>,
    failures: u32,
}

fn reader(answer: Response<Body>) -> Box<dyn Read + Send> {
    Box::new(answer.into_body().into_reader())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

/// A strong entity tag, else a date.
fn validator(headers: &HeaderMap) -> Option<String> {
    let tag = text(headers, "etag").filter(|tag| tag.starts_with('"'));
    tag.or_else(|| text(headers, "last-modified")).map(str::to_owned)
}

fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

impl Download {
    fn new(client: &Client, address: &str, answer: Response<Body>) -> Self {
        let headers = answer.headers();
        let (len, validator) = (number(headers, "content-length"), validator(headers));
        Self {
            client: client.clone(),
            address: address.to_owned(),
            body: reader(answer),
            position: 0,
            len,
            validator,
            failures: 0,
        }
    }

    /// The length, where the server says it.
    #[must_use]
    pub const fn content_length(&self) -> Option<u64> {
        self.len
    }

    /// Asks for the rest, waiting longer each time.
    fn resume(&mut self, why: &str) -> io::Result<()> {
        let at = self.position;
        let Some(validator) = self.validator.clone() else {
            return Err(broken(format!(
                "the connection broke at byte {at} ({why}), and the server cannot resume"
            )));
        };
        let mut why = why.to_owned();
        while self.failures < TRIES {
            self.client.wait(WAIT * 2_u32.pow(self.failures))?;
            self.failures += 1;
            let request = self.client.agent.get(&self.address).header("range", format!("bytes={at}-"));
            match request.header("if-range", &validator).call() {
                Ok(answer) if answer.status() == 206 => {
                    let range = text(answer.headers(), "content-range").unwrap_or_default().to_owned();
                    if !self.is_rest(&range) {
                        return Err(broken(format!(
                            "asked for the bytes from {at}, the server gives {range:?}"
                        )));
                    }
                    self.body = reader(answer);
                    return Ok(());
                }
                Ok(answer) if answer.status() == 200 => {
                    let text =
                        format!("the connection broke at byte {at}, and the file has changed since then");
                    return Err(broken(text));
                }
                Ok(answer) => why = format!("the server answers {}", answer.status()),
                Err(error) => why = error.to_string(),
            }
        }
        Err(broken(format!("the connection broke at byte {at} and could not be made again: {why}")))
    }

    /// Whether `bytes FROM-TO/LEN` is the rest of the file.
    fn is_rest(&self, range: &str) -> bool {
        let parse = || {
            let (bytes, len) = range.strip_prefix("bytes ")?.split_once('/')?;
            let (from, _) = bytes.split_once('-')?;
            Some((from.parse::<u64>().ok()?, len.parse::<u64>().ok()))
        };
        parse().is_some_and(|(from, len)| {
            from == self.position && (len.is_none() || self.len.is_none() || len == self.len)
        })
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let why = match self.body.read(buf) {
                Ok(0) if !buf.is_empty() && self.len.is_some_and(|len| self.position < len) => {
                    "it ended".to_owned()
                }
                Ok(read) => {
                    self.position += u64::try_from(read).unwrap_or(u64::MAX);
                    self.failures = 0;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => error.to_string(),
            };
            self.resume(&why)?;
        }
    }
}
