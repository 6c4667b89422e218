//! `ssh-ng://[USER@]HOST[:PORT][?KEY=VALUE&...]`, as Nix writes it.

use crate::escape::shell_word;

/// A Nix daemon that ssh leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builder {
    /// `USER@HOST` or `HOST`; it never begins with a dash.
    pub host: String,
    /// The port, where it is not the usual one.
    pub port: Option<u16>,
    /// The file of a private key.
    pub key: Option<String>,
    /// Whether ssh compresses.
    pub compress: bool,
    /// What is run there, quoted for a shell.
    pub command: String,
    /// Whether what it says is believed without signatures.
    pub trusted: bool,
}

impl Builder {
    /// Parses what follows `ssh-ng://`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (authority, query) = text.split_once('?').unwrap_or((text, ""));
        let authority = authority.trim_end_matches('/');
        let (user, place) =
            authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
        let (host, port) = split_port(place)?;
        let plain = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "._-+:%".contains(c))
        };
        // ssh takes what begins with a dash as an option, which can run anything.
        if host.starts_with('-')
            || !plain(host)
            || user.is_some_and(|user| user.starts_with('-') || !plain(user))
        {
            return Err(format!("{authority:?} is no host, expected [USER@]HOST[:PORT]"));
        }
        let host = user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"));
        let mut builder =
            Self { host, port, key: None, compress: false, command: String::new(), trusted: false };
        let (mut program, mut store) = ("nix-daemon".to_owned(), None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).ok_or_else(|| format!("{pair:?} is not percent-encoded text"))?;
            match key {
                "remote-program" => program = value,
                "remote-store" => store = Some(value),
                "ssh-key" => builder.key = Some(value),
                "compress" => builder.compress = switch(key, &value)?,
                "trusted" => builder.trusted = switch(key, &value)?,
                // Nix's own connections; there is one here.
                "max-connections" => {}
                _ => {
                    return Err(format!(
                        "{key:?} is no setting of it, expected remote-program, remote-store, ssh-key, compress or trusted"
                    ));
                }
            }
        }
        builder.command = command(&program, store.as_deref());
        Ok(builder)
    }
}

/// Splits `HOST:PORT`, `[ADDRESS]:PORT`; a bare address of IPv6 has no port.
fn split_port(place: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match place.split_once(':') {
            Some((_, rest)) if rest.contains(':') => (place, None),
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let number = |port: &str| port.parse().ok().filter(|port| *port > 0);
    let port =
        port.map(|port| number(port).ok_or_else(|| format!("{port:?} is no port, expected 1 to 65535")));
    Ok((host, port.transpose()?))
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        other => Err(format!("{key} is {other:?}, expected true or false")),
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The command line for the shell on the other side.
fn command(program: &str, store: Option<&str>) -> String {
    let mut command = String::new();
    for word in program.split_ascii_whitespace() {
        command.push_str(&shell_word(word));
        command.push(' ');
    }
    command.push_str("--stdio");
    if let Some(store) = store {
        command.push_str(" --store ");
        command.push_str(&shell_word(store));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_whom_to_ask_and_how() {
        for (text, host, port) in [
            ("builder", "builder", None),
            ("me@builder.example:2222", "me@builder.example", Some(2222)),
            ("builder/", "builder", None),
            ("[::1]:22", "::1", Some(22)),
            ("root@fe80::1%eth0", "root@fe80::1%eth0", None),
        ] {
            let builder = Builder::parse(text).unwrap();
            assert_eq!((&builder.host[..], builder.port), (host, port), "{text}");
            assert_eq!((&builder.command[..], builder.trusted), ("nix-daemon --stdio", false));
        }
        let all =
            "b?remote-store=%2ftmp/a%20b'c&remote-program=sudo nix-daemon&ssh-key=/k&compress=true&trusted=1";
        let builder = Builder::parse(all).unwrap();
        assert_eq!(builder.command, "sudo nix-daemon --stdio --store '/tmp/a b'\\''c'");
        assert!(builder.compress && builder.trusted && builder.key.as_deref() == Some("/k"));
    }

    #[test]
    fn what_could_be_an_option_or_a_command_is_no_host() {
        for (text, expected) in [
            ("-oProxyCommand=x", "is no host"),
            ("-l@host", "is no host"),
            ("me@-host", "is no host"),
            ("a b", "is no host"),
            ("", "is no host"),
            ("a;b", "is no host"),
            ("host:0", "is no port"),
            ("host:99999", "is no port"),
            ("host?priority=1", "is no setting"),
            ("host?trusted=maybe", "expected true or false"),
            ("host?ssh-key=%zz", "percent-encoded"),
        ] {
            let error = Builder::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
