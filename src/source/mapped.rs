//! An image that is checked against its block map while it passes.

use crate::base_n::to_base16;
use crate::format::file::bmap::{BlockMap, Range};
use crate::image::{Piece, Source, SourceError};
use crate::ints;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// An image of which only what is mapped matters, each run of it hashed as it passes.
pub struct Mapped<S> {
    inner: S,
    map: BlockMap,
    left: VecDeque<Range>,
    position: u64,
    hash: Sha256,
    /// A piece of `inner` that is longer than what could be handed out.
    rest: Option<Rest>,
}

/// What is left of a piece.
#[derive(Clone, Copy)]
enum Kind {
    Zeros,
    Skip,
}

enum Rest {
    Bytes { bytes: Vec<u8>, at: usize },
    None { kind: Kind, len: u64 },
}

static NOTHING: [u8; 64 << 10] = [0; 64 << 10];

impl<S: Source> Mapped<S> {
    /// Maps an image.
    pub fn new(inner: S, map: BlockMap) -> Self {
        let left = map.ranges.iter().cloned().collect();
        Self { inner, map, left, position: 0, hash: Sha256::new(), rest: None }
    }

    /// How many bytes from the position on are alike, and whether they are mapped.
    fn run(&self, limit: u64) -> (u64, bool) {
        let (len, mapped) = match self.left.front() {
            Some(range) if self.position < range.from => (range.from - self.position, false),
            Some(range) => (range.to - self.position, true),
            None => (u64::MAX, false),
        };
        (len.min(limit), mapped)
    }

    /// Goes on by `len` bytes of a run.
    fn advance(&mut self, len: u64) -> Result<(), SourceError> {
        self.position += len;
        let Some(range) = self.left.front().filter(|range| self.position >= range.to) else { return Ok(()) };
        let found = to_base16(&self.hash.finalize_reset());
        if let Some(expected) = range.sha256.as_ref().filter(|expected| **expected != found) {
            let (from, to) = (range.from, range.to);
            return Err(SourceError::Bad(
                format!("bytes {from} to {to} have the SHA-256 {found}, the block map says {expected}")
                    .into(),
            ));
        }
        self.left.pop_front();
        Ok(())
    }

    fn nothing(&mut self, kind: Kind, len: u64) -> Result<Option<Piece<'_>>, SourceError> {
        let (step, mapped) = self.run(len);
        if mapped {
            let mut hashed = 0;
            while hashed < step {
                let now = (step - hashed).min(ints::to_u64(NOTHING.len()));
                self.hash.update(&NOTHING[..ints::to_usize(now)]);
                hashed += now;
            }
        }
        self.rest = (step < len).then_some(Rest::None { kind, len: len - step });
        self.advance(step)?;
        Ok(Some(match kind {
            Kind::Zeros if mapped => Piece::Zeros(step),
            _ => Piece::Skip(step),
        }))
    }

    fn bytes(&mut self, bytes: Vec<u8>, at: usize) -> Result<Option<Piece<'_>>, SourceError> {
        let (step, mapped) = self.run(ints::to_u64(bytes.len() - at));
        let to = at + ints::to_usize(step);
        if mapped {
            self.hash.update(&bytes[at..to]);
        }
        self.advance(step)?;
        self.rest = Some(Rest::Bytes { bytes, at: to });
        match &self.rest {
            Some(Rest::Bytes { bytes, .. }) if mapped => Ok(Some(Piece::Data(&bytes[at..to]))),
            _ => Ok(Some(Piece::Skip(step))),
        }
    }
}

impl<S: Source> Source for Mapped<S> {
    fn len(&self) -> Option<u64> {
        Some(self.map.image_len)
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        match self.rest.take() {
            Some(Rest::Bytes { bytes, at }) if at < bytes.len() => return self.bytes(bytes, at),
            Some(Rest::None { kind, len }) => return self.nothing(kind, len),
            _ => {}
        }
        let expected = self.map.image_len;
        match self.inner.next()? {
            Some(Piece::Data(bytes)) => {
                let bytes = bytes.to_vec();
                self.bytes(bytes, 0)
            }
            Some(Piece::Zeros(len)) => self.nothing(Kind::Zeros, len),
            Some(Piece::Skip(len)) => self.nothing(Kind::Skip, len),
            None if self.position == expected => Ok(None),
            None => {
                let found = self.position;
                let text = format!("the image has {found} bytes, its block map is for {expected}");
                Err(SourceError::Bad(text.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::file::bmap::testing::map;
    use crate::image::read::stream::Stream;

    fn pieces(image: &[u8], text: &str) -> Result<Vec<(u8, u64)>, String> {
        let mut source = Mapped::new(Stream::new(image, None), BlockMap::parse(text).unwrap());
        let mut found: Vec<(u8, u64)> = Vec::new();
        while let Some(piece) = source.next().map_err(|error| error.to_string())? {
            let (kind, len) = match piece {
                Piece::Data(bytes) => (b'd', bytes.len() as u64),
                Piece::Zeros(len) => (b'z', len),
                Piece::Skip(len) => (b's', len),
            };
            match found.last_mut() {
                Some(last) if last.0 == kind => last.1 += len,
                _ => found.push((kind, len)),
            }
        }
        Ok(found)
    }

    #[test]
    fn what_is_mapped_is_checked_and_what_is_not_is_left_out() {
        let mut image = vec![5; 10 * 4096 + 100];
        image[4 * 4096..6 * 4096].fill(0);
        let sum = |from: usize, to: usize| to_base16(&Sha256::digest(&image[from..to]));
        let ranges = format!(
            "<Range chksum=\"{}\"> 1-4 </Range><Range chksum=\"{}\"> 10 </Range>",
            sum(4096, 5 * 4096),
            sum(10 * 4096, image.len())
        );
        let text = map(&ranges, image.len() as u64);
        let expected = [(b's', 4096), (b'd', 3 * 4096), (b'z', 4096), (b's', 5 * 4096), (b'd', 100)];
        assert_eq!(pieces(&image, &text).unwrap(), expected);
        let mut damaged = image.clone();
        damaged[9000] ^= 1;
        assert!(pieces(&damaged, &text).unwrap_err().contains("bytes 4096 to 20480 have the SHA-256"));
        damaged[9000] ^= 1;
        damaged[6 * 4096] ^= 1;
        assert_eq!(pieces(&damaged, &text).unwrap(), expected, "what is not mapped does not matter");
        assert!(pieces(&image[..9 * 4096], &text).unwrap_err().contains("its block map is for"));
        let longer = [&image[..], &[1; 4096]].concat();
        assert!(pieces(&longer, &text).unwrap_err().contains("its block map is for"));
    }
}
