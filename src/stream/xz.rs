//! xz on several threads, and what LZMA lacks: an end that is told.

use super::damaged::damaged;
use std::io::{self, BufRead, Read};

/// Memory that an xz stream may ask for, in bytes: a dictionary of 64 MiB, the largest preset's, and a little.
pub(super) const XZ_MEMORY: u64 = 80 << 20;

/// Memory for decoding an xz stream on several cores, in bytes; more cores than fit into it are not used.
const XZ_THREADS_MEMORY: u64 = 64 << 20;

/// A format without a sum at its end, after which nothing may come.
pub(super) struct Alone<R: BufRead> {
    pub inner: liblzma::bufread::XzDecoder<R>,
}

impl<R: BufRead> Read for Alone<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        if read == 0 && !buf.is_empty() && !self.inner.get_mut().fill_buf()?.is_empty() {
            return Err(damaged("bytes after the end of the LZMA stream"));
        }
        Ok(read)
    }
}

/// xz streams one after the other, each decoded by several threads where it has several blocks.
pub(super) struct Xz<R> {
    packed: R,
    stream: Option<liblzma::stream::Stream>,
    threads: u32,
    first: bool,
}

impl<R: BufRead> Xz<R> {
    /// Begins before the first stream.
    pub const fn new(packed: R, threads: u32) -> Self {
        Self { packed, stream: None, threads, first: true }
    }

    /// Begins the next stream, if there is one. Between streams there may be zeros, four at a time.
    fn begin(&mut self) -> io::Result<bool> {
        let mut padding = 0_usize;
        loop {
            let bytes = self.packed.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let all = zeros == bytes.len();
            let end = bytes.is_empty();
            self.packed.consume(zeros);
            padding += zeros;
            if self.first && padding > 0
                || !all && !padding.is_multiple_of(4)
                || end && !padding.is_multiple_of(4)
            {
                return Err(damaged("padding of a length that is no multiple of 4"));
            }
            if end {
                return if self.first { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(false) };
            }
            if !all {
                break;
            }
        }
        let mut builder = liblzma::stream::MtStreamBuilder::new();
        builder.threads(self.threads).memlimit_threading(XZ_THREADS_MEMORY).memlimit_stop(XZ_MEMORY);
        self.stream = Some(builder.decoder()?);
        self.first = false;
        Ok(true)
    }
}

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        use liblzma::stream::{Action, Status};
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(stream) = &mut self.stream else {
                if self.begin()? {
                    continue;
                }
                return Ok(0);
            };
            let bytes = self.packed.fill_buf()?;
            let end = bytes.is_empty();
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status = stream.process(bytes, buf, if end { Action::Finish } else { Action::Run })?;
            let taken = usize::try_from(stream.total_in() - before_in).unwrap_or(usize::MAX);
            let read = usize::try_from(stream.total_out() - before_out).unwrap_or(usize::MAX);
            self.packed.consume(taken);
            if status == Status::StreamEnd {
                self.stream = None;
            }
            if read > 0 {
                return Ok(read);
            }
            if status != Status::StreamEnd && end && taken == 0 && status == Status::MemNeeded {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
