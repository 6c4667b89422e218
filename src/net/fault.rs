//! Why a server does not give a file, and whether asking again may help.

use super::address;
use super::login::shown;
use super::proxy::Proxy;
use std::io;
use ureq::http::StatusCode;

/// A server does not give a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It answers with a status that is no success.
    #[error("the server answers {status}{}", through(.proxy.as_deref()))]
    Status {
        /// What the server answers, three digits.
        status: StatusCode,
        /// The proxy that it came through, which may be who answered.
        proxy: Option<String>,
    },
    /// It wants to know who asks.
    #[error("the server answers 401 Unauthorized: {0}")]
    Login(String),
    /// It leads on and on, or where nobody may follow.
    #[error("redirected {0}")]
    Redirect(String),
    /// It encodes the file in a way that nobody asked for.
    #[error("the server sends it encoded ({0:?}), expected gzip, br, zstd or nothing")]
    Encoding(String),
    /// Nobody who is known here vouches for it.
    #[error("{0}")]
    Certificate(String),
    /// The settings of this machine do not say how to reach anything.
    #[error("{0}")]
    Unusable(String),
    /// There is no answer.
    #[error("{0}")]
    Request(String),
    /// The answer breaks off.
    #[error("{0}")]
    Broken(io::Error),
}

impl Error {
    pub(super) fn status(status: StatusCode, proxy: Option<&Proxy>) -> Self {
        Self::Status { status, proxy: proxy.map(|proxy| proxy.shown().to_owned()) }
    }

    /// Whether the server says that it has no such file: caches answer 403 as often as 404.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Status { status, .. } if [403, 404, 410].contains(&status.as_u16()))
    }
}

fn through(proxy: Option<&str>) -> String {
    proxy.map(|proxy| format!(", through the proxy {proxy}")).unwrap_or_default()
}

/// Whether asking again may help, and how many seconds the server wants to be left alone.
pub(super) enum Failure {
    Final(Error),
    Passing(Error, Option<u64>),
}

impl Failure {
    pub(super) fn error(self) -> Error {
        match self {
            Self::Final(error) | Self::Passing(error, _) => error,
        }
    }
}

/// A proxy wants to know who asks.
pub(super) fn login_of(proxy: &Proxy) -> Error {
    let why = if proxy.has_login() {
        "it does not take the login in its address"
    } else {
        "it wants a login, as in http://NAME:PASSWORD@HOST:PORT"
    };
    Error::Request(format!("the proxy {} answers 407: {why}", proxy.shown()))
}

/// What ureq's errors are to people. Refused or unknown hosts do not become known by waiting.
pub(super) fn explain(error: &ureq::Error, address: &str, proxy: Option<&Proxy>) -> Failure {
    let fatal = |what: String| Failure::Final(Error::Request(what));
    let who = || proxy.map(|proxy| format!("the proxy {}: ", proxy.shown())).unwrap_or_default();
    match error {
        ureq::Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => {
            fatal(format!("{}connection refused", who()))
        }
        // Only a name server that cannot say now may say so later.
        ureq::Error::Io(io) if is_unknown_host(&io.to_string()) => fatal(format!("{}host not found", who())),
        ureq::Error::HostNotFound => fatal(format!("{}host not found", who())),
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => {
            fatal(format!("the address cannot be used: {error}"))
        }
        ureq::Error::ConnectProxyFailed(reason) => match proxy {
            Some(proxy) => untunnelled(reason, address, proxy),
            None => fatal(reason.clone()),
        },
        other => {
            let text = other.to_string();
            match text.split_once("invalid peer certificate: ") {
                Some((_, why)) => Failure::Final(Error::Certificate(distrusted(&whose(address, proxy), why))),
                None => {
                    let via = through(proxy.map(Proxy::shown));
                    Failure::Passing(Error::Request(format!("{text}{via}")), None)
                }
            }
        }
    }
}

fn is_unknown_host(text: &str) -> bool {
    text.starts_with("failed to lookup address information") && !text.contains("Temporary failure")
}

/// A proxy that makes no tunnel; `reason` has its status.
fn untunnelled(reason: &str, address: &str, proxy: &Proxy) -> Failure {
    let digits = |text: &str| text.get(..3).and_then(|text| text.parse::<u16>().ok());
    let status = reason.split_once("responded ").and_then(|(_, rest)| digits(rest));
    let host = address::origin(&shown(address)).unwrap_or_default();
    let name = proxy.shown();
    match status {
        Some(407) => Failure::Final(login_of(proxy)),
        Some(status @ (408 | 429 | 500 | 502..=504)) => {
            let text = format!("the proxy {name} answers {status}: it does not reach {host}");
            Failure::Passing(Error::Request(text), None)
        }
        Some(status) => {
            let text = format!("the proxy {name} answers {status}: it lets nobody through to {host}");
            Failure::Final(Error::Request(text))
        }
        None => Failure::Passing(Error::Request(format!("the proxy {name}: {reason}")), None),
    }
}

/// Whose certificate may be meant: a proxy that speaks https itself has one too.
fn whose(address: &str, proxy: Option<&Proxy>) -> String {
    match proxy.map(Proxy::shown).filter(|proxy| proxy.starts_with("https://")) {
        Some(proxy) if address.starts_with("https://") => {
            format!("its certificate or that of the proxy {proxy}")
        }
        Some(proxy) => format!("the certificate of the proxy {proxy}"),
        None => "its certificate".to_owned(),
    }
}

/// Why a certificate does not count.
fn distrusted(whose: &str, why: &str) -> String {
    for (words, meaning) in [
        ("UnknownIssuer", "is from an authority that is not known here"),
        ("xpired", "has expired"),
        ("ot valid yet", "is not valid yet; is the clock of this machine right?"),
        ("NotValidYet", "is not valid yet; is the clock of this machine right?"),
        ("ot valid for name", "is for another host"),
        ("NotValidForName", "is for another host"),
    ] {
        if why.contains(words) {
            return format!("{whose} {meaning}");
        }
    }
    format!("{whose} does not count: {why}")
}
