//! Brotli (RFC 7932): one stream, after which nothing may come.

use super::damaged::damaged;
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use std::io::{self, BufRead, Read};

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// Decodes a stream. The crate's own reader would not say where the stream ends in its input.
pub struct Brotli<R> {
    packed: R,
    /// `None` behind the end of the stream.
    state: Option<Box<State>>,
}

impl<R: BufRead> Brotli<R> {
    /// Decodes `packed`.
    pub fn new(packed: R) -> Self {
        let alloc = StandardAlloc::default;
        // Strict: without the extension of large windows, which may ask for a GiB; 16 MiB are the most otherwise.
        Self { packed, state: Some(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc()))) }
    }
}

impl<R: BufRead> Read for Brotli<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let (Some(state), false) = (&mut self.state, out.is_empty()) {
            let input = self.packed.fill_buf()?;
            let at_end = input.is_empty();
            let (mut left, mut taken, mut room, mut made, mut total) = (input.len(), 0, out.len(), 0, 0);
            let result = BrotliDecompressStream(
                &mut left, &mut taken, input, &mut room, &mut made, out, &mut total, state,
            );
            self.packed.consume(taken);
            match result {
                BrotliResult::ResultSuccess => self.state = None,
                BrotliResult::ResultFailure => return Err(damaged("the Brotli stream is damaged")),
                BrotliResult::NeedsMoreInput if at_end && made == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            }
            if made > 0 {
                return Ok(made);
            }
        }
        if !out.is_empty() && !self.packed.fill_buf()?.is_empty() {
            return Err(damaged("bytes after the end of the Brotli stream"));
        }
        Ok(0)
    }
}
