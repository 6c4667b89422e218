//! LZ4 frames one after the other, each to its end mark.

use super::damaged::damaged;
use std::io::{self, BufRead, Read};

/// How a frame begins.
pub(super) const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// Skips one skippable frame (magic 184D2A5?, length of 32 bits, bytes); whether there was one.
pub(super) fn skip_frame(packed: &mut impl BufRead) -> io::Result<bool> {
    if !matches!(packed.fill_buf()?, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) {
        return Ok(false);
    }
    let mut header = [0; 8];
    packed.read_exact(&mut header)?;
    let [.., a, b, c, d] = header;
    let len = u64::from(u32::from_le_bytes([a, b, c, d]));
    if io::copy(&mut packed.take(len), &mut io::sink())? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(true)
}

/// A reader that remembers that it was asked for bytes when there were none left.
struct ToEnd<R> {
    inner: R,
    ran_dry: bool,
}

impl<R: Read> Read for ToEnd<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.ran_dry |= read == 0 && !buf.is_empty();
        Ok(read)
    }
}

/// Decodes frames.
pub(super) struct Lz4<R: Read> {
    frame: Frame<R>,
}

enum Frame<R: Read> {
    /// Where a frame may begin, or the end.
    Between(R),
    In(Box<lz4_flex::frame::FrameDecoder<ToEnd<R>>>),
    /// Nothing can be read any more.
    Lost,
}

impl<R: BufRead> Lz4<R> {
    /// Decodes `packed`.
    pub fn new(packed: R) -> Self {
        Self { frame: Frame::Between(packed) }
    }
}

impl<R: BufRead> Read for Lz4<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.frame, Frame::Lost) {
                Frame::Between(mut packed) => {
                    while skip_frame(&mut packed)? {}
                    let start = packed.fill_buf()?;
                    if start.is_empty() {
                        self.frame = Frame::Between(packed);
                        return Ok(0);
                    }
                    if !start.starts_with(&MAGIC) {
                        return Err(damaged("something that is no LZ4 frame"));
                    }
                    let packed = ToEnd { inner: packed, ran_dry: false };
                    self.frame = Frame::In(Box::new(lz4_flex::frame::FrameDecoder::new(packed)));
                }
                Frame::In(mut frame) => {
                    let read = frame.read(buf)?;
                    if read > 0 || buf.is_empty() {
                        self.frame = Frame::In(frame);
                        return Ok(read);
                    }
                    // The decoder takes the end of its input for the end mark of the frame.
                    let packed = frame.into_inner();
                    if packed.ran_dry {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.frame = Frame::Between(packed.inner);
                }
                Frame::Lost => return Err(damaged("the stream was damaged before")),
            }
        }
    }
}
