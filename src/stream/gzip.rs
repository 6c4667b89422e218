//! gzip members one after the other, and what gzip itself and OpenWrt let follow them.
//!
//! Zeros behind the last member are padding (`gzip -t` takes them); OpenWrt's `fwtool` appends a description of the
//! image, which ends in 16 bytes: `FWx0`, CRC-32, type u8, padding, length u32. Anything else is damage.

use super::damaged::damaged;
use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, Read};

/// How the trailer of OpenWrt begins, and how long it is.
pub(crate) const FWTOOL: [u8; 4] = *b"FWx0";
/// See [`FWTOOL`].
pub(crate) const FWTOOL_LEN: usize = 16;
/// The longest description that is passed over, in bytes; those of today have less than a KiB.
const MAX_DESCRIPTION: u64 = 1 << 20;

/// Decodes members.
pub(super) struct Gzip<R> {
    member: Member<R>,
}

enum Member<R> {
    First(R),
    In(Box<GzDecoder<R>>),
    Done,
}

impl<R: BufRead> Gzip<R> {
    /// Decodes `packed`.
    pub fn new(packed: R) -> Self {
        Self { member: Member::First(packed) }
    }
}

/// Reads what follows a member to its end; gives the reader back where another one begins.
fn behind<R: BufRead>(mut packed: R) -> io::Result<Option<R>> {
    match packed.fill_buf()? {
        [] => return Ok(None),
        [0x1f, ..] => return Ok(Some(packed)),
        _ => {}
    }
    let mut rest = Vec::new();
    loop {
        let bytes = packed.fill_buf()?;
        let (zeros, len) = (bytes.iter().take_while(|byte| **byte == 0).count(), bytes.len());
        packed.consume(zeros);
        if zeros < len {
            break;
        }
        if len == 0 {
            return Ok(None);
        }
    }
    packed.take(MAX_DESCRIPTION + 1).read_to_end(&mut rest)?;
    let trailer = rest.len().checked_sub(FWTOOL_LEN).and_then(|at| rest.get(at..at + 4));
    if trailer == Some(&FWTOOL) && rest.len() <= crate::ints::to_usize(MAX_DESCRIPTION) {
        return Ok(None);
    }
    Err(damaged("bytes after the end of the gzip stream"))
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.member, Member::Done) {
                Member::First(packed) => self.member = Member::In(Box::new(GzDecoder::new(packed))),
                Member::In(mut member) => {
                    let read = member.read(buf)?;
                    if read > 0 {
                        self.member = Member::In(member);
                        return Ok(read);
                    }
                    match behind(member.into_inner())? {
                        Some(packed) => self.member = Member::First(packed),
                        None => return Ok(0),
                    }
                }
                Member::Done => return Ok(0),
            }
        }
    }
}
