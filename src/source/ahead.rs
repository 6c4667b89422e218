//! Reads ahead on a thread of its own, so that a silent pipe or server cannot hold up who wants to stop.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Bytes read at a time, and how many such pieces may wait.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;
/// How often the flag is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A reader on another thread.
pub struct Ahead {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    interrupted: Arc<AtomicBool>,
}

impl Ahead {
    /// Reads from `inner` until its end, an error, or nobody listens.
    pub fn new(mut inner: Box<dyn Read + Send>, interrupted: &Arc<AtomicBool>) -> Self {
        let (sender, pieces) = sync_channel(PIECES);
        // Not joined: it may be waiting for bytes that never come.
        drop(std::thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let result = match inner.read(&mut piece) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    result => result,
                };
                let ended = !matches!(result, Ok(1..));
                let message = result.map(|read| {
                    piece.truncate(read);
                    piece
                });
                if sender.send(message).is_err() || ended {
                    return;
                }
            }
        }));
        Self { pieces, piece: Vec::new(), at: 0, interrupted: Arc::clone(interrupted) }
    }
}

impl Read for Ahead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.recv_timeout(LOOK) {
                Ok(Ok(piece)) if piece.is_empty() => return Ok(0),
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(RecvTimeoutError::Timeout) if !self.interrupted.load(Ordering::Relaxed) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "interrupted"));
                }
                // After its end or an error, the thread has gone.
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
        let n = buf.len().min(self.piece.len() - self.at);
        buf[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
