//! One archive out of a longer stream.

use super::error::Error;
use super::limits::padding_of;
use crate::ints;
use std::io::{self, BufRead, Read};

/// Bytes of the longest word of the format, with its padding.
const MAX_WORD: usize = 32;

/// What the scanner is in.
enum State {
    /// A length: bytes of it so far.
    Length([u8; 8], usize),
    /// A word: bytes of it so far, its length, and how many there are with padding.
    Word([u8; MAX_WORD], usize, usize),
    /// A name, a target or contents: bytes left.
    Raw(u64),
    /// Behind the last parenthesis.
    End,
}

/// Reads one archive and stops behind it, without a look at what follows: an archive says where it ends, and a stream
/// that waits for an answer has nothing behind it.
///
/// It only finds the end; [`super::Reader`] judges what is in it.
pub struct Delimited<R> {
    inner: R,
    /// Bytes at the front of the inner buffer that belong to the archive and are not consumed.
    ahead: usize,
    state: State,
    depth: u64,
    /// Whether the last word announces a string that is no word.
    announced: bool,
    scanned: u64,
}

impl<R: BufRead> Delimited<R> {
    /// Reads from the first byte of an archive.
    pub const fn new(inner: R) -> Self {
        Self { inner, ahead: 0, state: State::Length([0; 8], 0), depth: 0, announced: false, scanned: 0 }
    }

    /// Whether all of the archive was consumed.
    pub const fn is_complete(&self) -> bool {
        matches!(self.state, State::End) && self.ahead == 0
    }
}

/// Goes over bytes; how many of them belong to the archive.
fn scan(state: &mut State, depth: &mut u64, announced: &mut bool, bytes: &[u8]) -> Result<usize, String> {
    let mut at = 0;
    while at < bytes.len() {
        match state {
            State::End => break,
            State::Length(number, have) => {
                number[*have] = bytes[at];
                (*have, at) = (*have + 1, at + 1);
                if *have == 8 {
                    *state = after_length(u64::from_le_bytes(*number), *announced)?;
                    *announced = false;
                }
            }
            State::Raw(left) => {
                let taken = ints::to_u64(bytes.len() - at).min(*left);
                *left -= taken;
                at += ints::to_usize(taken);
                if *left == 0 {
                    *state = State::Length([0; 8], 0);
                }
            }
            State::Word(word, have, padded) => {
                word[*have] = bytes[at];
                (*have, at) = (*have + 1, at + 1);
                if have == padded {
                    let len = word.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                    match &word[..len] {
                        b"(" => *depth += 1,
                        b")" => *depth = depth.checked_sub(1).ok_or("a ) without a (")?,
                        b"name" | b"target" | b"contents" => *announced = true,
                        _ => {}
                    }
                    let ends = word[..len] == *b")" && *depth == 0;
                    *state = if ends { State::End } else { State::Length([0; 8], 0) };
                }
            }
        }
    }
    Ok(at)
}

fn after_length(len: u64, announced: bool) -> Result<State, String> {
    let padded = len.checked_add(ints::to_u64(padding_of(len)));
    match padded {
        Some(0) => Ok(State::Length([0; 8], 0)),
        Some(padded) if announced => Ok(State::Raw(padded)),
        Some(padded) if padded <= ints::to_u64(MAX_WORD) => {
            Ok(State::Word([0; MAX_WORD], 0, ints::to_usize(padded)))
        }
        _ => Err(format!("a word of {len} bytes, expected at most {MAX_WORD}: it is no Nix archive")),
    }
}

impl<R: BufRead> BufRead for Delimited<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.is_complete() {
            return Ok(&[]);
        }
        let buf = self.inner.fill_buf()?;
        if buf.len() > self.ahead {
            let (state, depth, announced) = (&mut self.state, &mut self.depth, &mut self.announced);
            let scanned = scan(state, depth, announced, &buf[self.ahead..]);
            let scanned = scanned.map_err(|message| {
                io::Error::new(io::ErrorKind::InvalidData, Error::Format { at: self.scanned, message })
            })?;
            self.ahead += scanned;
            self.scanned += ints::to_u64(scanned);
        } else if buf.is_empty() {
            let message = format!("it ends after {} bytes of it", self.scanned);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        Ok(&buf[..self.ahead])
    }

    fn consume(&mut self, amount: usize) {
        self.ahead -= amount;
        self.inner.consume(amount);
    }
}

impl<R: BufRead> Read for Delimited<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let buf = self.fill_buf()?;
        let len = buf.len().min(out.len());
        out[..len].copy_from_slice(&buf[..len]);
        self.consume(len);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::nix::nar::Framing;
    use std::io::BufReader;

    /// Names, targets and contents that look like words of the format.
    fn tricky() -> Vec<u8> {
        let mut out = Vec::new();
        Framing::start(&mut out);
        Framing::directory(&mut out);
        for (name, contents) in [("(", ")"), (")", ""), ("contents", "(((((((((((((((("), ("name", "target")]
        {
            Framing::entry(&mut out, name.as_bytes());
            Framing::file(&mut out, name == ")", ints::to_u64(contents.len()));
            out.extend_from_slice(contents.as_bytes());
            Framing::file_end(&mut out, ints::to_u64(contents.len()));
            Framing::close(&mut out);
        }
        Framing::entry(&mut out, b"target");
        Framing::symlink(&mut out, b")");
        Framing::close(&mut out);
        Framing::close(&mut out);
        out
    }

    #[test]
    fn an_archive_ends_where_it_ends_however_it_arrives() {
        let nar = tricky();
        let stream = [&nar[..], b"what follows"].concat();
        for size in [1, 7, 8, 13, 64, 4096] {
            let mut behind = BufReader::with_capacity(size, &stream[..]);
            let mut delimited = Delimited::new(&mut behind);
            let mut read = Vec::new();
            delimited.read_to_end(&mut read).unwrap();
            assert!(delimited.is_complete() && read == nar, "{size}");
            let mut rest = String::new();
            behind.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "what follows", "{size}");
        }
    }

    #[test]
    fn a_cut_or_what_is_no_archive_is_an_error() {
        let nar = tricky();
        for cut in 0..nar.len() {
            let error = io::copy(&mut Delimited::new(&nar[..cut]), &mut io::sink()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
        for (bytes, expected) in [
            (&[0xff; 64][..], "a word of 18446744073709551615 bytes"),
            (&b"Welcome to this machine!"[..], "it is no Nix archive"),
            (&[1, 0, 0, 0, 0, 0, 0, 0, b')', 0, 0, 0, 0, 0, 0, 0][..], "a ) without a ("),
        ] {
            let error = io::copy(&mut Delimited::new(bytes), &mut io::sink()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
