//! Who logs in where: `netrc` files, and names in addresses.
//!
//! ```text
//! netrc = { "machine" HOST | "default" | "login" NAME | "password" WORD | "account" WORD | "macdef" NAME ... blank line }
//! ```
//! Words are separated by white space; one in double quotes may contain it, and `\` before a character. From `#` at the
//! beginning of a word to the end of the line is a comment. Source: curl `lib/netrc.c`.

use crate::base_n::to_base64;
use std::collections::BTreeMap;
use std::fmt;

/// A name and a password; never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    name: String,
    password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

impl Login {
    /// The value of an `Authorization` header (RFC 7617).
    pub(super) fn header(&self) -> String {
        basic(&self.name, &self.password)
    }
}

/// A name and a password as a header has them.
pub(super) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", to_base64(format!("{name}:{password}").as_bytes()))
}

/// A file of logins is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct BadNetrc {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong; it repeats no word, which might be a password.
    pub message: &'static str,
}

/// Logins by host.
#[derive(Clone, Debug, Default)]
pub struct Netrc {
    machines: BTreeMap<String, Login>,
    default: Option<Login>,
}

/// The entry that words are about.
enum Entry {
    None,
    /// The first entry of a host counts; those that follow are read for their form only.
    Machine(String, Login),
    Default(Login),
}

impl Netrc {
    /// Parses a file.
    pub fn parse(text: &str) -> Result<Self, BadNetrc> {
        let mut netrc = Self::default();
        let mut entry = Entry::None;
        let mut lines = (1..).zip(text.lines());
        let mut wanted: Option<&str> = None;
        while let Some((line, content)) = lines.next() {
            for word in words(content).map_err(|message| BadNetrc { line, message })? {
                let bad = |message| Err(BadNetrc { line, message });
                match (wanted.take(), word.as_str()) {
                    (Some("machine"), _) => {
                        netrc.add(std::mem::replace(&mut entry, Entry::None));
                        entry = Entry::Machine(word.to_ascii_lowercase(), Login::default());
                    }
                    (Some("macdef"), _) => {
                        // A macro ends with a blank line.
                        while lines.next().is_some_and(|(_, content)| !content.trim().is_empty()) {}
                        break;
                    }
                    (Some(field), _) => match (&mut entry, field) {
                        (Entry::None, _) => return bad("expected a machine before its login"),
                        (Entry::Machine(_, login) | Entry::Default(login), "login") => login.name = word,
                        (Entry::Machine(_, login) | Entry::Default(login), "password") => {
                            login.password = word;
                        }
                        _ => {}
                    },
                    (None, "default") => {
                        netrc.add(std::mem::replace(&mut entry, Entry::Default(Login::default())));
                    }
                    (None, "machine") => wanted = Some("machine"),
                    (None, "login") => wanted = Some("login"),
                    (None, "password") => wanted = Some("password"),
                    (None, "account") => wanted = Some("account"),
                    (None, "macdef") => wanted = Some("macdef"),
                    (None, _) => return bad("expected machine, default, login, password, account or macdef"),
                }
            }
        }
        if wanted.is_some() {
            return Err(BadNetrc { line: text.lines().count(), message: "the last word has no value" });
        }
        netrc.add(entry);
        Ok(netrc)
    }

    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::None => {}
            Entry::Machine(host, login) => {
                self.machines.entry(host).or_insert(login);
            }
            Entry::Default(login) => {
                self.default.get_or_insert(login);
            }
        }
    }

    /// The login for a host.
    #[must_use]
    pub fn of(&self, host: &str) -> Option<&Login> {
        self.machines.get(&host.to_ascii_lowercase()).or(self.default.as_ref())
    }
}

/// The words of a line, up to a comment.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let mut word = String::new();
        match rest.peek() {
            None | Some('#') => return Ok(words),
            Some('"') => {
                rest.next();
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') => word.extend(rest.next()),
                        Some(c) => word.push(c),
                        None => return Err("a quoted word does not end"),
                    }
                }
            }
            Some(_) => {
                while let Some(c) = rest.next_if(|c| !c.is_whitespace()) {
                    word.push(c);
                }
            }
        }
        words.push(word);
    }
}

/// Takes the login out of an address: `https://NAME:PASSWORD@HOST/...`, with `%` before two digits of base 16.
#[must_use]
pub fn split(address: &str) -> (String, Option<Login>) {
    let Some((scheme, rest)) = address.split_once("://") else { return (address.to_owned(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((user, host)) = rest[..end].rsplit_once('@') else { return (address.to_owned(), None) };
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let login = Login { name: decode(name), password: decode(password) };
    (format!("{scheme}://{host}{}", &rest[end..]), Some(login))
}

/// An address without the login in it, for messages.
#[must_use]
pub fn shown(address: &str) -> String {
    split(address).0
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(netrc: &Netrc, host: &str) -> Option<String> {
        netrc.of(host).map(Login::header)
    }

    #[test]
    fn a_netrc_gives_each_host_its_own_login() {
        let text = "# mine\nmachine cache.example login me password p#w # twice\nmachine Other\n  login\n  \"a b\\\"\"\n\
                    macdef init\n machine evil login x\n\nmachine cache.example login you\nmachine token password t\n";
        let netrc = Netrc::parse(text).unwrap();
        assert_eq!(header(&netrc, "CACHE.example").unwrap(), "Basic bWU6cCN3");
        assert_eq!(header(&netrc, "other").unwrap(), format!("Basic {}", to_base64(b"a b\":")));
        assert_eq!(header(&netrc, "token").unwrap(), format!("Basic {}", to_base64(b":t")));
        assert_eq!((header(&netrc, "evil"), header(&netrc, "example")), (None, None));
        let netrc = Netrc::parse("default login d password e").unwrap();
        assert_eq!(header(&netrc, "anything").unwrap(), format!("Basic {}", to_base64(b"d:e")));
        assert!(
            !format!("{netrc:?}").contains("Basic")
                && !format!("{netrc:?}").contains('e'.to_string().repeat(9).as_str())
        );
    }

    #[test]
    fn what_is_wrong_in_a_netrc_is_named_and_no_word_repeated() {
        for (text, line, part) in [
            ("machine a login b\nsecret", 2, "expected machine"),
            ("login b", 1, "before its login"),
            ("machine a password", 1, "no value"),
            ("machine a password \"secret", 1, "does not end"),
        ] {
            let error = Netrc::parse(text).unwrap_err();
            assert!(error.line == line && error.message.contains(part), "{error}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn a_login_is_taken_out_of_an_address() {
        let (address, login) = split("https://me:p%40w:x@host:8080/a@b?c");
        assert_eq!(address, "https://host:8080/a@b?c");
        assert_eq!(login.unwrap().header(), format!("Basic {}", to_base64(b"me:p@w:x")));
        for plain in ["https://host/a@b", "http://host", "x@y", "https://host?u=a@b"] {
            assert_eq!(split(plain), (plain.to_owned(), None));
        }
        assert_eq!(shown("https://t%6fken@host"), "https://host");
    }
}
