//! Buffers that direct I/O takes, and a bounded number of them.

use super::disk::ALIGN;
use std::ops::{Deref, DerefMut};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Bytes that begin at a page. Made without unsafe code: a page more than needed, and a slice of it.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
    /// Where the bytes go when they are no longer needed.
    home: Option<SyncSender<Vec<u8>>>,
}

impl Buffer {
    /// Makes a buffer of zeros.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self::of(vec![0; len + ALIGN], None)
    }

    fn of(bytes: Vec<u8>, home: Option<SyncSender<Vec<u8>>>) -> Self {
        let address = bytes.as_ptr().addr();
        let start = address.next_multiple_of(ALIGN) - address;
        let len = bytes.len() - ALIGN;
        Self { bytes, start, len, home }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            // A pool that is gone needs nothing back.
            drop(home.try_send(std::mem::take(&mut self.bytes)));
        }
    }
}

/// A fixed number of buffers. Who takes one waits until one is back: that bounds the memory of a write.
pub struct Pool {
    free: Receiver<Vec<u8>>,
    home: SyncSender<Vec<u8>>,
}

impl Pool {
    /// Makes `count` buffers of `len` bytes.
    #[must_use]
    pub fn new(count: usize, len: usize) -> Self {
        let (home, free) = sync_channel(count);
        for _ in 0..count {
            // Cannot fail: the channel takes `count`.
            drop(home.try_send(vec![0; len + ALIGN]));
        }
        Self { free, home }
    }

    /// Takes a buffer, with whatever it last held. `None` when `stop` says so before one is free.
    pub fn take(&self, stop: &dyn Fn() -> bool) -> Option<Buffer> {
        loop {
            match self.free.recv_timeout(Duration::from_millis(50)) {
                Ok(bytes) => return Some(Buffer::of(bytes, Some(self.home.clone()))),
                Err(RecvTimeoutError::Timeout) if !stop() => {}
                Err(_) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gives_aligned_buffers_and_no_more_than_it_has() {
        let pool = Pool::new(2, 8192);
        let (first, second) = (pool.take(&|| true).unwrap(), pool.take(&|| true).unwrap());
        assert!(pool.take(&|| true).is_none(), "only two");
        for buffer in [&first, &second] {
            assert_eq!((buffer.as_ptr().addr() % ALIGN, buffer.len()), (0, 8192));
        }
        drop(first);
        assert!(pool.take(&|| true).is_some(), "it came back");
        drop(pool);
        drop(second);
    }
}
