//! What a daemon says while it works.

use super::version::Version;
use crate::format::nix::wire;
use crate::format::nix::wire::Error;
use std::io::Read;

const NEXT: u64 = 0x6f6c_6d67;
const LAST: u64 = 0x616c_7473;
const ERROR: u64 = 0x6378_7470;
const START: u64 = 0x5354_5254;
const STOP: u64 = 0x5354_4f50;
const RESULT: u64 = 0x5253_4c54;

/// Bytes of one message.
const MAX_TEXT: u64 = 64 << 10;
/// Fields of an activity, and traces of an error.
const MAX_ITEMS: u64 = 1024;

/// What a daemon says between a question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The result follows.
    Last,
    /// There is no result, for this reason.
    Error(String),
    /// Something about the work; how long it was, in bytes.
    Talk(u64),
}

/// Reads a message.
pub fn message(from: &mut impl Read, version: Version) -> Result<Message, Error> {
    let mut counted = Counted { inner: from, count: 0 };
    let from = &mut counted;
    match wire::number(from, "a message of the daemon")? {
        LAST => return Ok(Message::Last),
        ERROR => return error(from, version).map(Message::Error),
        NEXT => drop(wire::bytes(from, "a message of the daemon", MAX_TEXT)?),
        START => {
            for _ in 0..3 {
                wire::number(from, "an activity of the daemon")?;
            }
            wire::bytes(from, "an activity of the daemon", MAX_TEXT)?;
            fields(from)?;
            wire::number(from, "the parent of an activity")?;
        }
        STOP => drop(wire::number(from, "an activity of the daemon")?),
        RESULT => {
            for _ in 0..2 {
                wire::number(from, "an activity of the daemon")?;
            }
            fields(from)?;
        }
        other => {
            let found = format!("{other:#x}");
            return Err(Error::value("a message of the daemon", "one of the worker protocol", &found));
        }
    }
    Ok(Message::Talk(counted.count))
}

fn items(from: &mut impl Read, what: &'static str) -> Result<u64, Error> {
    let count = wire::number(from, what)?;
    if count > MAX_ITEMS { Err(Error::TooLong { what, most: MAX_ITEMS, found: count }) } else { Ok(count) }
}

fn fields(from: &mut impl Read) -> Result<(), Error> {
    for _ in 0..items(from, "fields of an activity")? {
        match wire::number(from, "the kind of a field")? {
            0 => drop(wire::number(from, "a field of an activity")?),
            1 => drop(wire::bytes(from, "a field of an activity", MAX_TEXT)?),
            other => return Err(Error::value("the kind of a field", "0 or 1", &other.to_string())),
        }
    }
    Ok(())
}

fn error(from: &mut impl Read, version: Version) -> Result<String, Error> {
    let text = if version >= Version::TRACES {
        wire::bytes(from, "the kind of an error", MAX_TEXT)?;
        wire::number(from, "the level of an error")?;
        wire::bytes(from, "the name of an error", MAX_TEXT)?;
        let text = wire::bytes(from, "the text of an error", MAX_TEXT)?;
        wire::number(from, "the place of an error")?;
        for _ in 0..items(from, "traces of an error")? {
            wire::number(from, "the place of a trace")?;
            wire::bytes(from, "a trace of an error", MAX_TEXT)?;
        }
        text
    } else {
        let text = wire::bytes(from, "the text of an error", MAX_TEXT)?;
        wire::number(from, "the status of an error")?;
        text
    };
    Ok(plain(&String::from_utf8_lossy(&text)))
}

/// Leaves out colours and other sequences for terminals, and what Nix puts before each error.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            // ESC [ parameters, and a letter that ends them
            if rest.next() == Some('[') {
                rest.find(|c| ('@'..='~').contains(c));
            }
        } else if c == '\n' || !c.is_control() {
            plain.push(c);
        }
    }
    let plain = plain.trim();
    plain.strip_prefix("error:").unwrap_or(plain).trim().to_owned()
}

/// Counts what is read.
struct Counted<'a, R> {
    inner: &'a mut R,
    count: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(out)?;
        self.count += crate::ints::to_u64(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::nix::wire::{put_bytes, put_number};

    /// A message of numbers and strings.
    fn bytes(parts: &[Result<u64, &str>]) -> Vec<u8> {
        let mut out = Vec::new();
        for part in parts {
            match part {
                Ok(number) => put_number(&mut out, *number),
                Err(text) => put_bytes(&mut out, text.as_bytes()),
            }
        }
        out
    }

    #[test]
    fn every_message_is_read_to_its_end() {
        let (old, new) = (Version(21), Version(38));
        let red = "\u{1b}[31;1merror:\u{1b}[0m path '\u{1b}[35;1m/nix/store/x\u{1b}[0m' is not valid";
        for (version, parts, expected) in [
            (new, vec![Ok(LAST)], Some(Message::Last)),
            (new, vec![Ok(NEXT), Err("a line")], None),
            (new, vec![Ok(STOP), Ok(7)], None),
            (
                new,
                vec![Ok(START), Ok(7), Ok(3), Ok(105), Err("x"), Ok(2), Ok(0), Ok(9), Ok(1), Err("y"), Ok(0)],
                None,
            ),
            (new, vec![Ok(RESULT), Ok(7), Ok(105), Ok(1), Ok(0), Ok(9)], None),
            (
                new,
                vec![
                    Ok(ERROR),
                    Err("Error"),
                    Ok(0),
                    Err("Error"),
                    Err(red),
                    Ok(0),
                    Ok(1),
                    Ok(0),
                    Err("trace"),
                ],
                Some(Message::Error("path '/nix/store/x' is not valid".to_owned())),
            ),
            (old, vec![Ok(ERROR), Err("it\u{7} fails"), Ok(1)], Some(Message::Error("it fails".to_owned()))),
        ] {
            let whole = bytes(&parts);
            let mut from = &[&whole[..], b"rest"].concat()[..];
            let expected = expected.unwrap_or(Message::Talk(crate::ints::to_u64(whole.len())));
            assert_eq!(message(&mut from, version).unwrap(), expected);
            assert_eq!(from, b"rest", "{parts:?}");
            for cut in 0..whole.len() {
                assert!(message(&mut &whole[..cut], version).unwrap_err().is_broken_stream());
            }
        }
    }

    #[test]
    fn nonsense_is_named() {
        for (parts, expected) in [
            (vec![Ok(0xbad)], "a message of the daemon is \"0xbad\""),
            (vec![Ok(NEXT), Ok(u64::MAX)], "a message of the daemon of 18446744073709551615"),
            (vec![Ok(RESULT), Ok(0), Ok(0), Ok(1 << 60)], "fields of an activity of 1152921504606846976"),
            (vec![Ok(RESULT), Ok(0), Ok(0), Ok(1), Ok(2)], "the kind of a field is \"2\", expected 0 or 1"),
        ] {
            let error = message(&mut &bytes(&parts)[..], Version(38)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
