//! One file on its way: resumed where that is safe, decoded where the server has encoded it.

use super::client::{Answer, Client, broken, drain, header};
use super::fault::{self, Error, Failure};
use super::login;
use super::settings::{LONGEST_WAIT, TRIES};
use crate::ints;
use crate::stream::decompress::Compression;
use std::io::{self, BufReader, Read};
use std::time::Duration;
use ureq::http::{HeaderMap, Response};
use ureq::{Body, http};

/// The file at an address.
pub struct Download {
    body: Box<dyn Read + Send>,
    len: Option<u64>,
}

impl Client {
    /// Asks for a file; what may pass is tried again.
    pub fn get(&self, address: &str) -> Result<Download, Error> {
        if let Some(why) = &self.unusable {
            return Err(Error::Unusable(why.to_string()));
        }
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

    pub(super) fn once(&self, address: &str) -> Result<Download, Failure> {
        let Answer { response, proxy } = self.send(address, &[])?;
        let status = response.status();
        if status == 200 {
            return Download::new(self, address, response).map_err(Failure::Final);
        }
        let asked = header(response.headers(), "retry-after").and_then(|text| text.trim().parse().ok());
        drain(response);
        match (status.as_u16(), proxy) {
            (401, _) => Err(Failure::Final(self.unauthorized(address))),
            (407, Some(proxy)) => Err(Failure::Final(fault::login_of(proxy))),
            (408 | 429 | 500 | 502..=504, _) => Err(Failure::Passing(Error::status(status, proxy), asked)),
            _ => Err(Failure::Final(Error::status(status, proxy))),
        }
    }
}

impl Download {
    pub(super) fn new(client: &Client, address: &str, answer: Response<Body>) -> Result<Self, Error> {
        let headers = answer.headers();
        let len = header(headers, "content-length").and_then(|text| text.trim().parse().ok());
        let encodings = encodings(headers)?;
        let validator = validator(headers).filter(|_| encodings.is_empty());
        let raw = Raw {
            client: client.clone(),
            address: address.to_owned(),
            body: reader(answer),
            position: 0,
            len,
            validator,
            failures: 0,
        };
        if encodings.is_empty() {
            return Ok(Self { body: Box::new(raw), len });
        }
        let mut body: Box<dyn io::BufRead + Send> = Box::new(BufReader::with_capacity(64 << 10, raw));
        for encoding in encodings {
            body = encoding.open(body).map_err(|error| Error::Request(error.to_string()))?;
        }
        Ok(Self { body: Box::new(body), len: None })
    }

    /// The length, where the server says it.
    #[must_use]
    pub const fn content_length(&self) -> Option<u64> {
        self.len
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.body.read(buf)
    }
}

/// How a body is encoded, the outermost first. Some servers encode without having been asked to.
fn encodings(headers: &HeaderMap) -> Result<Vec<Compression>, Error> {
    let mut found = Vec::new();
    for value in headers.get_all(http::header::CONTENT_ENCODING) {
        let words = value.to_str().map_err(|_| Error::Encoding("no text".to_owned()))?;
        for word in words.split(',').map(|word| word.trim().to_ascii_lowercase()) {
            match Compression::of_word(&word) {
                _ if word.is_empty() || word == "aws-chunked" => {}
                Some(Compression::None) => {}
                Some(compression) => found.push(compression),
                None => return Err(Error::Encoding(word)),
            }
        }
    }
    // More than two would be a way to make a small file a huge one.
    if found.len() > 2 {
        return Err(Error::Encoding(format!("{} times packed", found.len())));
    }
    found.reverse();
    Ok(found)
}

fn reader(answer: Response<Body>) -> Box<dyn Read + Send> {
    Box::new(answer.into_body().into_reader())
}

/// A strong entity tag, else a date.
fn validator(headers: &HeaderMap) -> Option<String> {
    let tag = header(headers, "etag").filter(|tag| tag.starts_with('"'));
    tag.or_else(|| header(headers, "last-modified")).map(str::to_owned)
}

/// The bytes as the server sends them.
struct Raw {
    client: Client,
    address: String,
    body: Box<dyn Read + Send>,
    position: u64,
    len: Option<u64>,
    /// What tells that the file is the same; without it nothing is resumed.
    validator: Option<String>,
    failures: u32,
}

impl Raw {
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
            self.client.wait(self.client.pause(&self.address, self.failures))?;
            self.failures += 1;
            let rest = [("range", format!("bytes={at}-")), ("if-range", validator.clone())];
            match self.client.send(&self.address, &rest) {
                Ok(Answer { response, .. }) if response.status() == 206 => {
                    let headers = response.headers();
                    let range = header(headers, "content-range").unwrap_or_default().to_owned();
                    if !self.is_rest(&range) || !encodings(headers).is_ok_and(|e| e.is_empty()) {
                        return Err(broken(format!(
                            "asked for the bytes from {at}, the server gives {range:?}"
                        )));
                    }
                    self.body = reader(response);
                    return Ok(());
                }
                Ok(Answer { response, .. }) if response.status() == 200 => {
                    let text =
                        format!("the connection broke at byte {at}, and the file has changed since then");
                    return Err(broken(text));
                }
                Ok(Answer { response, .. }) => why = format!("the server answers {}", response.status()),
                Err(failure) => why = failure.error().to_string(),
            }
        }
        let place = login::shown(&self.address);
        Err(broken(format!(
            "the connection to {place} broke at byte {at} and could not be made again: {why}"
        )))
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

impl Read for Raw {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let why = match self.body.read(buf) {
                Ok(0) if !buf.is_empty() && self.len.is_some_and(|len| self.position < len) => {
                    "it ended".to_owned()
                }
                Ok(read) => {
                    self.position += ints::to_u64(read);
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
